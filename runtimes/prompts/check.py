"""Checks that a call's prompts can be read and fit, before anything is loaded."""

from __future__ import annotations

import warnings

import numpy as np

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.manifest import Graph
from runtimes.prompts.embed import TEXT_ENCODER, Texts, branches_of, texts_of
from runtimes.prompts.fragments import refused
from runtimes.prompts.given import check_embeddings, check_length
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
    bundle: Bundle, asked: Texts, inputs: Inputs, tokenizer: ClipTokenizer | None
) -> None:
    """Refuses prompts that can't be read in their syntax, or are too long for the U-Net.

    Args:
        bundle: whose text encoder and U-Net take them.
        asked: the prompts.
        inputs: with embeddings given in place of prompts.
        tokenizer: the bundle's, where it is open already.

    Raises:
        UsageError: says what is wrong.
    """
    branches = branches_of(asked, inputs)
    texts = texts_of(branches.values())
    if not texts:
        _check_unread(asked)
    chunk = _chunk(bundle.graph(TEXT_ENCODER))
    check_embeddings(bundle, inputs, chunk=chunk, alone=not texts)
    if asked.prompt_syntax == "plain" and asked.long_prompts == "truncate":
        return  # one chunk, whatever the text
    opened = tokenizer or _open(bundle)
    counts = {
        text: plan(text, opened, asked.prompt_syntax, asked.long_prompts).chunks for text in texts
    }
    for text, count in counts.items():
        if count > MAX_CHUNKS:
            raise refused(text, f"it takes {count} chunks of {chunk} tokens; at most {MAX_CHUNKS}.")
    given = [b.shape[1] // chunk for b in branches.values() if isinstance(b, np.ndarray)]
    if counts:
        check_length(bundle, max([*counts.values(), *given]), chunk)


def _check_unread(asked: Texts) -> None:
    """Refuses what is said of reading prompts where there is none to read."""
    said = {
        "prompt_syntax": asked.prompt_syntax != "plain",
        "long_prompts": asked.long_prompts != "truncate",
        "clip_skip": asked.clip_skip != 0,
    }
    for name in (name for name, changes in said.items() if changes):
        raise UsageError(
            f"{name} {getattr(asked, name)!r} says how prompts are read, and embeddings are given "
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


def _open(bundle: Bundle) -> ClipTokenizer:
    return ClipTokenizer.open(bundle.path / bundle.manifest.tokenizers[TEXT_ENCODER])


def _chunk(text_encoder: Graph) -> int:
    """Tokens of one call of the text encoder: 77 where the graph leaves it open."""
    for port in text_encoder.inputs:
        if port.role == "input_ids" and isinstance(port.shape[-1], int):
            return port.shape[-1]
    return 77
