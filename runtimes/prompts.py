"""From prompts to the text embeddings that the U-Net takes."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from runtimes.component import Component
from runtimes.settings import Settings
from runtimes.timings import Stopwatch
from runtimes.tokenizer import ClipTokenizer

_LONGEST_QUOTE = 200
_CALLER = 6
"""Frames from the warning up to whoever calls `Pipeline.__call__`."""

Embeddings = NDArray[np.float32]


class PromptTruncated(UserWarning):
    """A prompt has more tokens than the text encoder takes; its end was dropped."""


def embed(
    tokenizer: ClipTokenizer, text_encoder: Component, settings: Settings, watch: Stopwatch
) -> tuple[Embeddings, Embeddings | None]:
    """Text embeddings of each picture; each distinct text is encoded once.

    Args:
        tokenizer: the text encoder's.
        text_encoder: gives `last_hidden_state`.
        settings: with the prompts.
        watch: takes the stages' times.

    Returns:
        For the prompts and, with guidance, for the negative prompts: [n, 77, d], the pictures of
        one prompt side by side.

    Warns:
        PromptTruncated: a text is too long; says what was dropped.
    """
    texts = list(
        dict.fromkeys(settings.prompt + (settings.negative_prompt if settings.guided else ()))
    )
    with watch.lap("tokenize"):
        encoding = tokenizer(texts)
    for dropped in filter(None, encoding.dropped):
        _warn_truncated(dropped, encoding.input_ids.shape[1])
    with watch.lap("text_encoder"):
        states = text_encoder(input_ids=encoding.input_ids)

    def of(chosen: tuple[str, ...]) -> Embeddings:
        rows = states[[texts.index(text) for text in chosen]]
        return np.repeat(rows, settings.num_images_per_prompt, axis=0)

    return of(settings.prompt), of(settings.negative_prompt) if settings.guided else None


def _warn_truncated(dropped: str, length: int) -> None:
    quote = dropped if len(dropped) <= _LONGEST_QUOTE else f"{dropped[:_LONGEST_QUOTE]}…"
    more = "" if quote == dropped else f" ({len(dropped)} characters in all)"
    warnings.warn(
        f"a prompt has more than {length} tokens; its end was dropped: {quote!r}{more}",
        PromptTruncated,
        stacklevel=_CALLER,
    )
