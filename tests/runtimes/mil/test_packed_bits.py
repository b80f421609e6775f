"""Elements of fewer than 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.mil.packed_bits import sign_extend, unpack_bits


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 25])
def test_elements_are_unpacked(bits: int, count: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, count).astype(np.uint8)
    by_bit = (values[:, None] >> np.arange(bits)) & 1
    packed = np.packbits(by_bit.reshape(-1).astype(bool), bitorder="little")
    np.testing.assert_array_equal(unpack_bits(packed, bits, count), values)


def test_signs_are_extended() -> None:
    found = sign_extend(np.arange(16, dtype=np.uint8), 4)
    assert found.dtype == np.int8
    assert found.tolist() == [*range(8), *range(-8, 0)]
