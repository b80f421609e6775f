"""A Brownian path that is fixed by its seed, whatever is asked of it and in which order.

Each value of the path hangs on the seed and on its place alone: the interval is halved again and
again, and each half's increment is drawn given the whole's (the Brownian bridge), with a generator
of that node's own. So the noise of a step is the same at any number of steps and in any order.

Increments equal those of torchsde's BrownianInterval(halfway_tree=True, tol=1e-6, pool_size=24) on
the CPU, which diffusers' DPMSolverSDEScheduler draws from, up to the rounding of float32 and what
`runtimes.noise` says of normal draws.

Sources: P. Kidger et al., "Efficient and Accurate Gradients for Neural SDEs", 2021, section 5;
X. Li et al., "Scalable Gradients for Stochastic Differential Equations", 2020, section 4; torchsde
0.2.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.noise import SEED_MAX, SEED_MIN, Generator

Float32s = NDArray[np.float32]

DIGITS = 6
"""Times are rounded to so many decimal places: the path is a polygon below that."""
POOL_SIZE = 24
NODES_KEPT = 64  # twice the depth of a path to a leaf: neighbouring times share most of theirs


class _Node(NamedTuple):
    """A piece of the interval: place `key` of the 2**depth at its depth, times rounded."""

    start: float
    end: float
    key: int = 0
    depth: int = 0

    @property
    def middle(self) -> float:
        return round(0.5 * (self.end + self.start), DIGITS)

    @property
    def left(self) -> _Node:
        return _Node(self.start, self.middle, 2 * self.key, self.depth + 1)

    @property
    def right(self) -> _Node:
        return _Node(self.middle, self.end, 2 * self.key + 1, self.depth + 1)


class BrownianPath:
    """A path of independent standard Brownian motions between two times."""

    def __init__(self, start: float, end: float, shape: Sequence[int], seed: int) -> None:
        """Fixes the path.

        Args:
            start: where it begins.
            end: where it ends, not below `start`.
            shape: of the array of motions.
            seed: from -2**63 to 2**64 - 1; a negative one as torch takes it, 2**64 more. Unlike
                `noise.Generator`'s stream, all of its bits count.

        Raises:
            UsageError: the seed is out of range.
        """
        if not SEED_MIN <= seed <= SEED_MAX:
            raise UsageError(f"seed {seed} is out of range; give one from -2**63 to 2**64 - 1")
        self._entropy = seed % 2**64
        self._shape = tuple(shape)
        self._root = _Node(round(start, DIGITS), round(end, DIGITS))
        self._whole = self._draw(()) * np.float32(math.sqrt(end - start))
        self._noise = lru_cache(NODES_KEPT)(self._node_noise)

    def __call__(self, start: float, end: float) -> Float32s:
        """The increment W(end) - W(start): float32, of variance |end - start|.

        Args:
            start: a time; beyond the path's ends, as torchsde has it, the end itself.
            end: likewise, before `start` or after it.
        """
        low, high = (self._within(time) for time in sorted((start, end)))
        if low == high:
            return np.zeros(self._shape, np.float32)
        increment = self._increment(self._root, self._whole, low, high)
        return increment if start < end else -increment

    def _within(self, time: float) -> float:
        return round(min(max(time, self._root.start), self._root.end), DIGITS)

    def _increment(self, node: _Node, whole: Float32s, low: float, high: float) -> Float32s:
        """The increment over a part of a node, given that over the whole of it."""
        if (low, high) == (node.start, node.end):
            return whole
        middle, left = node.middle, self._left(node, whole)
        if high <= middle:
            return self._increment(node.left, left, low, high)
        right = whole - left
        if low >= middle:
            return self._increment(node.right, right, low, high)
        return self._increment(node.left, left, low, middle) + self._increment(
            node.right, right, middle, high
        )

    def _left(self, node: _Node, whole: Float32s) -> Float32s:
        """The bridge: the left half's increment is normal about its share of the whole."""
        left, right = node.middle - node.start, node.end - node.middle
        per_length = 1 / (node.end - node.start)
        deviation = np.float32(math.sqrt(left * right * per_length))
        mean = np.float32(left * per_length) * whole
        return cast("Float32s", mean + deviation * self._noise(node))

    def _node_noise(self, node: _Node) -> Float32s:
        return self._draw((node.key, node.depth))

    def _draw(self, spawn_key: tuple[int, ...]) -> Float32s:
        sequence = np.random.SeedSequence(self._entropy, spawn_key=spawn_key, pool_size=POOL_SIZE)
        return Generator(int(sequence.generate_state(1)[0])).randn(self._shape)
