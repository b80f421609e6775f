"""torch's CPU generator in NumPy, so that a seed gives the picture it gives in diffusers.

The uniform draws equal torch's bit for bit. The normal draws agree within 5e-7 (the largest
difference in 20 million is 4.77e-7, one unit in the last place of a value above 4): torch's own
log, sine and cosine differ from one instruction set to the next, so there is no one stream of
normals to be bit-equal to.

Source: torch 2.13, `ATen/core/MT19937RNGEngine.h`, `ATen/native/cpu/DistributionTemplates.h`;
M. Matsumoto and T. Nishimura, "Mersenne Twister", 1998; G. Box and M. Muller, 1958.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError

SEED_MIN = -(2**63)
SEED_MAX = 2**64 - 1
# Below this many values torch draws one by one in double precision, from here on in blocks.
BLOCK = 16


class Generator:
    """A stream of random numbers equal to `torch.Generator("cpu")` with the same seed.

    Successive calls go on where the last one stopped, as torch's do.

    Attributes:
        seed: what the stream was started with.
    """

    def __init__(self, seed: int) -> None:
        """Starts the stream.

        Args:
            seed: from -2**63 to 2**64 - 1, as `torch.Generator.manual_seed` takes it. The low 32
                bits alone decide the stream, as in torch.

        Raises:
            UsageError: the seed is out of that range.
        """
        if not SEED_MIN <= seed <= SEED_MAX:
            raise UsageError(f"seed {seed} is out of range; give one from -2**63 to 2**64 - 1")
        self.seed = operator.index(seed)
        self._engine = np.random.MT19937()
        # RandomState's legacy seeding is `init_genrand`, which torch uses; MT19937's own is not.
        low_bits = self.seed & 0xFFFFFFFF
        state = np.random.RandomState(low_bits).get_state(legacy=False)
        self._engine.state = cast("Any", state)  # numpy's stubs type the two sides differently
        self._next_normal: float | None = None

    def uniform(self, n: int) -> NDArray[np.float32]:
        """Draws as `torch.rand(n)`: 24 random bits a value, in [0, 1), float32 of shape [n]."""
        bits = self._engine.random_raw(n) & np.uint64(0xFFFFFF)
        return bits.astype(np.float32) * np.float32(2**-24)

    def randn(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Draws as `torch.randn(shape)`: standard normal values, float32.

        Args:
            shape: the array's shape; () gives one value, a zero in it gives none.
        """
        n = math.prod(shape)
        values = self._blocks(n) if n >= BLOCK else self._one_by_one(n)
        return values.reshape(tuple(shape))

    def _blocks(self, n: int) -> NDArray[np.float32]:
        whole = n - n % BLOCK
        values = np.empty(n, np.float32)
        uniforms = self.uniform(n)
        values[:whole] = _box_muller(uniforms[:whole])
        if whole < n:
            # A ragged end: torch draws the last 16 values anew, over those already made.
            values[-BLOCK:] = _box_muller(self.uniform(BLOCK))
        return values

    def _one_by_one(self, n: int) -> NDArray[np.float32]:
        return np.array([self._normal() for _ in range(n)], np.float32)

    def _normal(self) -> float:
        """One normal value in double precision; its twin waits for the next call of this kind."""
        if self._next_normal is not None:
            twin, self._next_normal = self._next_normal, None
            return twin
        angle = 2.0 * math.pi * self._uniform53()
        radius = math.sqrt(-2.0 * math.log1p(-self._uniform53()))
        self._next_normal = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _uniform53(self) -> float:
        high, low = (int(word) for word in self._engine.random_raw(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normal values from uniforms, in blocks of 16: 8 radii, 8 angles; cosines, then sines.

    float32 where torch rounds to float32 (the angle above all: at radius 5 its rounding moves a
    value by 1e-6), but the logarithm in float64, which lands on torch's value in 92 % of draws
    where a float32 one does in 86 %.
    """
    block = uniforms.reshape(-1, 2, BLOCK // 2)
    log = np.log(1.0 - block[:, 0].astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * log)
    angle = np.float32(2.0 * math.pi) * block[:, 1]
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return normals.reshape(-1)
