"""Bundles whose U-Net takes no text: what can't be said to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.options import GuidanceOptions, Options, PromptOptions, names_of
from runtimes.prompts.encoders import takes_text
from runtimes.prompts.given import EMBEDDINGS
from runtimes.settings import Settings

Texts = str | Sequence[str] | None

_UNGUIDED = 1.0

_OPTIONS = sorted(names_of(PromptOptions) | names_of(GuidanceOptions))
_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    **{f.name: (None, f.default) for f in msgspec.structs.fields(Settings) if f.name in _OPTIONS},
    "guidance_scale": (None, 0, _UNGUIDED),
}
"""Option of a call that is said of text → its values that say nothing."""


def check_takes_text(bundle: Bundle) -> None:
    """Refuses a bundle whose U-Net takes no text.

    Raises:
        UsageError: it takes none.
    """
    if not takes_text(bundle):
        raise UsageError(f"{bundle.path} takes no text: there is nothing to encode.")


def settle_untold(
    prompt: Texts, negative_prompt: Texts, inputs: Inputs, options: Options
) -> tuple[Texts, Options]:
    """What a call says to a U-Net that takes no text: an empty prompt, and nothing that guides.

    Args:
        prompt: of the call: none, or empty ones, as a record has them for each picture.
        negative_prompt: likewise.
        inputs: of the call.
        options: of the call.

    Returns:
        The prompt and the options, with what a model that takes text has by default otherwise.

    Raises:
        UsageError: something is said of text; names the argument.
    """
    for name in EMBEDDINGS:
        if getattr(inputs, name) is not None:
            raise _refused(name)
    for name, texts in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if any([texts] if isinstance(texts, str) else texts or ()):
            raise _refused(f"{name} {texts!r}")
    for name, nothing in _SAYS_NOTHING.items():
        if options.get(name) not in nothing:
            raise _refused(f"{name} {options.get(name)!r}")
    scale = options.get("guidance_scale")
    unguided: Options = {**options, "guidance_scale": _UNGUIDED if scale is None else scale}
    return "" if prompt is None else prompt, unguided


def _refused(what: str) -> UsageError:
    return UsageError(
        f"{what} can't be given: this bundle's U-Net takes no text, and nothing guides it; leave "
        "it out."
    )
