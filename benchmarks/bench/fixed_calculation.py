"""One fixed calculation, timed again and again: what the machine's speed is at a moment."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

CHUNKS = 10
REPEATS = 75
VALUES = 16384
"""256 kB in and out: in a second-level cache, so that memory is not what is timed."""

_X = np.linspace(0.1, 2.0, VALUES)
_Y = np.empty_like(_X)


class ReferenceTime(NamedTuple):
    """Of one run of the calculation.

    Attributes:
        whole_ms: from start to end, with whatever else the machine did meanwhile.
        undisturbed_ms: what it would have taken had every part of it run as fast as the fastest: of
            the processor's clock, not of others' load.
    """

    whole_ms: float
    undisturbed_ms: float


def time_reference() -> ReferenceTime:
    """Runs the calculation, some 20 ms on one thread of a fast processor.

    Exponentials and logarithms, element by element: NumPy runs those on the calling thread, where
    a product of matrices would depend on how many threads its BLAS takes.
    """
    parts: list[float] = []
    for _ in range(CHUNKS):
        began = time.perf_counter()
        for _ in range(REPEATS):
            np.exp(_X, out=_Y)
            np.log(_Y, out=_Y)
        parts.append((time.perf_counter() - began) * 1e3)
    return ReferenceTime(sum(parts), min(parts) * CHUNKS)
