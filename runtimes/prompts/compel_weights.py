"""Weights as compel applies them: away from the empty prompt, and towards one without the text.

States of a token lie `weight` times as far from those of the empty prompt. Where a weight is below
1, the result is mixed with the embeddings of the prompt without that fragment, the more of them the
smaller the weight. compel takes the fragment away by masking its tokens; the exported text encoder
has no mask, so it is taken out of the text, compel's `DownweightMode.REMOVE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runtimes.errors import UsageError
from runtimes.prompts.chunks import Chunk, Embeddings, Row, Split, Token, chunk, empty_row
from runtimes.prompts.compel import Blend, Conjunction, Flat, flats_of
from runtimes.prompts.fragments import Fragment
from runtimes.tokenizer import ClipTokenizer

States = Callable[[Row], Embeddings]

MAX_LOWERED = 64
"""Fragments of weights below 1, each of which takes a call of the text encoder."""

_LEAST = 1e-5
"""A weight below it counts as this: at 0 the share of the rest would be infinite."""


@dataclass(frozen=True)
class _Variant:
    """A prompt, or one without a fragment, and its share in the mixture."""

    chunks: tuple[Chunk, ...]
    share: float = 1.0


@dataclass(frozen=True)
class _Mixture:
    variants: tuple[_Variant, ...]

    @property
    def length(self) -> int:
        return max(len(variant.chunks) for variant in self.variants)


@dataclass(frozen=True)
class _Part:
    """A part of the conjunction: mixtures, their shares, and the weight of the whole."""

    mixtures: tuple[_Mixture, ...]
    shares: tuple[float, ...]
    weight: float

    @property
    def length(self) -> int:
        return max(mixture.length for mixture in self.mixtures)


@dataclass(frozen=True)
class CompelPlan:
    """A prompt in compel's syntax; a `Plan`.

    Attributes:
        parts: what lies side by side.
        empty: the row of the empty prompt.
        dropped: what didn't fit.
    """

    parts: tuple[_Part, ...]
    empty: Row
    dropped: str

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of all variants, and the empty one."""
        chunks = [
            chunk
            for part in self.parts
            for mixture in part.mixtures
            for variant in mixture.variants
            for chunk in variant.chunks
        ]
        return (*(chunk.row for chunk in chunks), self.empty)

    @property
    def chunks(self) -> int:
        """Of all parts together."""
        return sum(part.length for part in self.parts)

    def assemble(self, states: States) -> Embeddings:
        """See `Plan.assemble`."""
        return np.concatenate([self._part(part, states) for part in self.parts])

    def _part(self, part: _Part, states: States) -> Embeddings:
        mixtures = [self._mixture(each, part.length, states) for each in part.mixtures]
        found = mixtures[0] if len(mixtures) == 1 else _sum(mixtures, part.shares)
        if len(mixtures) == 1 and part.shares[0] != 1:
            found = found * np.float32(part.shares[0])
        if part.weight == 1:
            return found
        base: Embeddings = np.tile(states(self.empty), (part.length, 1))
        moved: Embeddings = (found - base) * np.float32(part.weight)
        return base + moved

    def _mixture(self, mixture: _Mixture, length: int, states: States) -> Embeddings:
        found = [self._variant(each, length, states) for each in mixture.variants]
        shares = _normalised([each.share for each in mixture.variants])
        return found[0] if len(found) == 1 else _sum(found, shares)

    def _variant(self, variant: _Variant, length: int, states: States) -> Embeddings:
        empty = states(self.empty)
        found = [_weighed(states(each.row), empty, each.weights) for each in variant.chunks]
        return np.concatenate([*found, *[empty] * (length - len(found))])


def compel_plan(
    prompt: Conjunction, tokenizer: ClipTokenizer, split: Split, *, window: int | None
) -> CompelPlan:
    """Tokenises a prompt.

    Args:
        prompt: as it was read.
        tokenizer: the text encoder's.
        split: tokens → chunks.
        window: how many tokens are kept where the rest is cut off; else None.

    Raises:
        UsageError: too many fragments have weights below 1.
    """
    lowered = sum(each.weight < 1 for flat in flats_of(prompt) for each in flat)
    if lowered > MAX_LOWERED:
        raise UsageError(
            f"a prompt has {lowered} fragments of weights below 1, and is encoded without each of "
            f"them; at most {MAX_LOWERED}."
        )
    planner = _Planner(tokenizer, split, window)
    parts = [
        planner.part(part, weight)
        for part, weight in zip(prompt.parts, prompt.weights, strict=True)
    ]
    texts = [] if window is None else [planner.dropped(flat) for flat in flats_of(prompt)]
    dropped = " ".join(text for text in texts if text)
    return CompelPlan(tuple(parts), empty_row(tokenizer), dropped)


def _flats(part: Flat | Blend) -> tuple[Flat, ...]:
    return part.prompts if isinstance(part, Blend) else (part,)


@dataclass(frozen=True)
class _Planner:
    tokenizer: ClipTokenizer
    split: Split
    window: int | None

    def part(self, part: Flat | Blend, weight: float) -> _Part:
        mixtures = tuple(self._mixture(flat) for flat in _flats(part))
        if not isinstance(part, Blend):
            return _Part(mixtures, (1.0,), weight)
        shares = _normalised(part.weights) if part.normalised else part.weights
        return _Part(mixtures, tuple(shares), weight)

    def dropped(self, flat: Flat) -> str:
        tokens = [token.id for token in self._tokens(flat)]
        return self.tokenizer.decode(tokens[self.window :])

    def _mixture(self, flat: Flat) -> _Mixture:
        variants = [_Variant(self._chunks(flat))]
        for index in self._in_window(flat):
            weight = flat[index].weight
            if weight < 1:
                without = flat[:index] + flat[index + 1 :]
                share = math.tan((1 - max(_LEAST, weight)) * math.pi / 2)
                variants.append(_Variant(self._chunks(without), share))
        return _Mixture(tuple(variants))

    def _in_window(self, flat: Flat) -> list[int]:
        """The fragments that begin in what is kept; the reference leaves the others as they are."""
        found: list[int] = []
        seen = 0
        for index, fragment in enumerate(flat):
            count = len(self.tokenizer.tokenize(fragment.text))
            if count and self.window is not None and seen >= self.window:
                break
            found.append(index)
            seen += count
        return found

    def _chunks(self, fragments: Sequence[Fragment]) -> tuple[Chunk, ...]:
        parts = self.split(self._tokens(fragments))
        return tuple(chunk(self.tokenizer, part) for part in parts)

    def _tokens(self, fragments: Sequence[Fragment]) -> list[Token]:
        return [
            Token(token_id, fragment.weight)
            for fragment in fragments
            for token_id in self.tokenizer.tokenize(fragment.text)
        ]


def _weighed(states: Embeddings, empty: Embeddings, weights: tuple[float, ...]) -> Embeddings:
    """States `weight` times as far from those of the empty prompt, token by token."""
    factors = np.array(weights, np.float32)[:, np.newaxis]
    # Not by the formula where there is nothing to do: it would round.
    return np.where(factors == 1, states, empty + (states - empty) * factors)


def _normalised(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def _sum(embeddings: Sequence[Embeddings], shares: Sequence[float]) -> Embeddings:
    total = np.zeros_like(embeddings[0])
    for each, share in zip(embeddings, shares, strict=True):
        total += each * np.float32(share)
    return total
