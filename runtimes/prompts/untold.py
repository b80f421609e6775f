"""Bundles whose U-Net takes no text: how they are known, and what can't be said to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs

CONTEXT = "encoder_hidden_states"
"""The U-Net's input that takes text embeddings."""

_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "prompt": (None, ""),
    "negative_prompt": (None, ""),
    "guidance_scale": (None, 0, 1),
    "guidance_rescale": (None, 0),
    "guidance_interval": (None,),
    "perp_neg": (None, False),
    "negative_weight": (None,),
    "prompt_syntax": (None, "plain"),
    "long_prompts": (None, "truncate"),
    "clip_skip": (None, 0),
}
"""Argument of a call that is said of text → its values that say nothing."""

TEXT_OPTIONS = tuple(_SAYS_NOTHING)


def takes_text(bundle: Bundle) -> bool:
    """Whether a bundle's U-Net takes text embeddings.

    Raises:
        BundleError: there is no U-Net.
    """
    return any(port.role == CONTEXT for port in bundle.graph("unet").inputs)


def needed(bundle: Bundle) -> tuple[str, ...]:
    """The components that every call of a bundle takes, in the order in which it takes them.

    Raises:
        BundleError: there is no U-Net.
    """
    text_encoder = ("text_encoder",) if takes_text(bundle) else ()
    return (*text_encoder, "unet", "vae_decoder")


def check_takes_text(bundle: Bundle) -> None:
    """Refuses a bundle whose U-Net takes no text.

    Raises:
        UsageError: it takes none.
    """
    if not takes_text(bundle):
        raise UsageError(f"{bundle.path} takes no text: there is nothing to encode.")


def check_untold(inputs: Inputs, options: Mapping[str, object]) -> None:
    """Refuses what a call says of text where the U-Net takes none.

    Args:
        inputs: of the call.
        options: its arguments, those of `TEXT_OPTIONS` at least.

    Raises:
        UsageError: names the argument.
    """
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        if getattr(inputs, name) is not None:
            raise _refused(name)
    for name, nothing in _SAYS_NOTHING.items():
        value = options[name]
        if isinstance(value, Sequence) and not isinstance(value, str):
            # One text for each picture, as a record has them.
            said = any(each not in nothing for each in cast("Sequence[object]", value))
        else:
            said = value not in nothing
        if said:
            raise _refused(f"{name} {value!r}")


def _refused(what: str) -> UsageError:
    return UsageError(
        f"{what} can't be given: this bundle's U-Net takes no text, and nothing guides it; leave "
        "it out."
    )
