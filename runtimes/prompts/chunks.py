"""Tokens in chunks that fit into the text encoder, and which token a long prompt is split at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.tokenizer import ClipTokenizer

Embeddings = NDArray[np.float32]
Row = tuple[int, ...]
"""What the text encoder gets: the first id, up to 75 of text, the last id, and padding: 77."""

COMMA_REACH = 20
"""How many tokens of a full chunk, back to its last comma, move to the next chunk with the text
after it: the default of the web UI that the rule comes from."""


@dataclass(frozen=True)
class Token:
    """A token of a prompt and the weight that was asked for it."""

    id: int
    weight: float = 1.0


Split = Callable[[Sequence[Token]], list[list[Token]]]
"""Tokens → chunks of them that fit, at least one, which may be empty."""


@dataclass(frozen=True)
class Chunk:
    """One call of the text encoder.

    Attributes:
        row: the ids.
        weights: of each id, those around the text 1.
    """

    row: Row
    weights: tuple[float, ...]


def room(tokenizer: ClipTokenizer) -> int:
    """How many tokens of text fit into a chunk: 75."""
    return tokenizer.model_max_length - 2


def chunk(tokenizer: ClipTokenizer, tokens: Sequence[Token]) -> Chunk:
    """A chunk of tokens that fit, with the ids around them."""
    ids = [tokenizer.bos_token_id, *(token.id for token in tokens), tokenizer.eos_token_id]
    weights = [1.0, *(token.weight for token in tokens)]
    missing = tokenizer.model_max_length
    return Chunk(
        row=(*ids, *[tokenizer.pad_token_id] * (missing - len(ids))),
        weights=(*weights, *[1.0] * (missing - len(weights))),
    )


def empty_row(tokenizer: ClipTokenizer) -> Row:
    """The row of the empty text, which fills up shorter prompts beside longer ones."""
    return chunk(tokenizer, []).row


def cut(tokens: Sequence[Token], size: int) -> tuple[list[Token], list[Token]]:
    """What fits into one chunk, and what doesn't."""
    return list(tokens[:size]), list(tokens[size:])


def split_near_commas(tokens: Sequence[Token], size: int, comma: int | None) -> list[list[Token]]:
    """Chunks of `size`; what follows a comma near the end of a full one goes to the next.

    Args:
        tokens: any number.
        size: of a full chunk.
        comma: the id of the comma; None where it is no token.
    """
    chunks: list[list[Token]] = []
    current: list[Token] = []
    last_comma: int | None = None
    for token in tokens:
        if len(current) == size:
            kept = size
            # A comma that is next itself moves nothing, and isn't looked back to later.
            if token.id != comma and last_comma is not None and size - last_comma <= COMMA_REACH:
                kept = last_comma + 1
            chunks.append(current[:kept])
            current, last_comma = current[kept:], None
        elif token.id == comma:
            last_comma = len(current)
        current.append(token)
    return [*chunks, current]


_SENTENCES = frozenset({".</w>"})
_PHRASES = frozenset({".</w>", ",</w>", ";</w>", ":</w>"})


def split_at_sentences(
    tokens: Sequence[Token], size: int, written: Callable[[int], str]
) -> list[list[Token]]:
    """Chunks that end with a sentence; else with a phrase, else with a word, else when full.

    Args:
        tokens: any number.
        size: of a full chunk.
        written: id → token as the vocabulary writes it.
    """
    chunks: list[list[Token]] = []
    rest = list(tokens)
    while len(rest) > size:
        end = _last_end(rest[:size], written)
        chunks.append(rest[:end])
        rest = rest[end:]
    return [*chunks, rest]


def _last_end(tokens: Sequence[Token], written: Callable[[int], str]) -> int:
    texts = [written(token.id) for token in tokens]
    for ends in (_SENTENCES.__contains__, _PHRASES.__contains__, _ends_word):
        found = [index for index, text in enumerate(texts) if ends(text)]
        if found:
            return found[-1] + 1
    return len(tokens)


def _ends_word(text: str) -> bool:
    return text.endswith("</w>")
