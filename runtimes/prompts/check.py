"""Checks that a call's prompts can be read and fit, before anything is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.manifest import Graph
from runtimes.prompts.branches import Given, Texts, branches_of, texts_of
from runtimes.prompts.encoders import text_encoders
from runtimes.prompts.fragments import refused
from runtimes.prompts.given import check_embeddings, check_length, check_pooled
from runtimes.prompts.plan import plan
from runtimes.settings import Settings
from runtimes.tokenizer import ClipTokenizer

MAX_CHUNKS = 32
"""The longest prompt accepted: 2400 tokens, some three printed pages. The U-Net's cross-attention
grows with it, and longer texts were pasted by mistake."""

_CALLER = 4
"""Frames from the warning up to whoever calls `Pipeline.__call__`."""


class NegativePromptUnused(UserWarning):
    """A negative prompt was given, and guidance is off."""


def check_readable(
    bundle: Bundle,
    asked: Texts,
    inputs: Inputs,
    clip_skip: int,
    tokenizers: Mapping[str, ClipTokenizer] | None,
) -> None:
    """Refuses prompts that can't be read in their syntax, or are too long for the U-Net.

    Args:
        bundle: whose text encoders and U-Net take them.
        asked: the prompts.
        inputs: with embeddings given in place of prompts.
        clip_skip: layers left out.
        tokenizers: the bundle's by text encoder, where it is open already.

    Raises:
        UsageError: says what is wrong.
        BundleError: the text encoders don't give what the U-Net takes.
    """
    encoders = text_encoders(bundle, clip_skip)
    if not encoders:
        return
    branches = branches_of(asked, inputs)
    texts = {each.name: texts_of(branches.values(), place) for place, each in enumerate(encoders)}
    unread = not any(texts.values())
    if unread:
        _check_unread(asked, clip_skip)
    chunk = _chunk(bundle.graph(encoders[0].name))
    check_embeddings(bundle, inputs, chunk=chunk, alone=unread)
    check_pooled(bundle, inputs)
    if asked.prompt_syntax == "plain" and asked.long_prompts == "truncate":
        return  # one chunk, whatever the text
    counts = [
        _chunks(text, tokenizer, asked, chunk)
        for name, found in texts.items()
        for tokenizer in [_opened(bundle, name, tokenizers)]
        for text in found
    ]
    given = [b.states.shape[1] // chunk for b in branches.values() if isinstance(b, Given)]
    if counts:
        check_length(bundle, max([*counts, *given]), chunk)


def _chunks(text: str, tokenizer: ClipTokenizer, asked: Texts, chunk: int) -> int:
    count = plan(text, tokenizer, asked.prompt_syntax, asked.long_prompts).chunks
    if count > MAX_CHUNKS:
        raise refused(text, f"it takes {count} chunks of {chunk} tokens; at most {MAX_CHUNKS}.")
    return count


def _check_unread(asked: Texts, clip_skip: int) -> None:
    """Refuses what is said of reading prompts where there is none to read."""
    said = {
        "prompt_syntax": (asked.prompt_syntax, "plain"),
        "long_prompts": (asked.long_prompts, "truncate"),
        "clip_skip": (clip_skip, 0),
    }
    for name, value in ((name, value) for name, (value, plain) in said.items() if value != plain):
        raise UsageError(
            f"{name} {value!r} says how prompts are read, and embeddings are given "
            f"in place of all of them; leave {name} out."
        )


def warn_unused(settings: Settings, inputs: Inputs) -> None:
    """Warns of a negative prompt that plays no part.

    Warns:
        NegativePromptUnused: guidance is off.
    """
    negative = any(settings.negative_prompt) or inputs.negative_prompt_embeds is not None
    if not negative or settings.guided:
        return
    why = (
        "this bundle's U-Net guides itself"
        if settings.guidance_embedded
        else f"guidance_scale {settings.guidance_scale:g} turns guidance off"
    )
    warnings.warn(
        f"the negative prompt plays no part: {why}", NegativePromptUnused, stacklevel=_CALLER
    )


def _opened(
    bundle: Bundle, name: str, tokenizers: Mapping[str, ClipTokenizer] | None
) -> ClipTokenizer:
    if tokenizers is not None:
        return tokenizers[name]
    return ClipTokenizer.open(bundle.path / bundle.manifest.tokenizers[name])


def _chunk(text_encoder: Graph) -> int:
    """Tokens of one call of the text encoder: 77 where the graph leaves it open."""
    for port in text_encoder.inputs:
        if port.role == "input_ids" and isinstance(port.shape[-1], int):
            return port.shape[-1]
    return 77
