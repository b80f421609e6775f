"""Weights as AUTOMATIC1111's web UI applies them: states multiplied, their mean restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtimes.prompts.chunks import Chunk, Embeddings, Row


@dataclass(frozen=True)
class MeanRestored:
    """A prompt in chunks; a `Plan`. Without weights the states stay as they are, bit by bit.

    Attributes:
        of: the chunks.
        dropped: what didn't fit.
    """

    of: tuple[Chunk, ...]
    dropped: str = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """One for each chunk."""
        return tuple(chunk.row for chunk in self.of)

    @property
    def chunks(self) -> int:
        """How many there are."""
        return len(self.of)

    def assemble(self, states: Callable[[Row], Embeddings]) -> Embeddings:
        """See `Plan.assemble`."""
        return np.concatenate([weigh(states(chunk.row), chunk.weights) for chunk in self.of])


def weigh(states: Embeddings, weights: tuple[float, ...]) -> Embeddings:
    """Multiplies states [77, d] by weights, token by token, and restores the mean of all of them.

    The mean is that of one chunk of one prompt. Where the weighted states have a mean of 0, there
    is no factor that restores another, and they are left so.
    """
    if all(weight == 1 for weight in weights):
        return states
    weighted = states * np.array(weights, np.float32)[:, np.newaxis]
    before, after = states.mean(dtype=np.float64), weighted.mean(dtype=np.float64)
    return weighted if after == 0 else weighted * np.float32(before / after)
