"""Bits side by side in bytes."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.coreml.compress import packing
from exporter.coreml.compress.packing import pack, unpack


def test_the_lowest_bits_of_a_byte_come_first() -> None:
    assert pack(np.array([0, 3, 2, 1, 3], np.uint8), 2).tolist() == [0b01101100, 0b11]


def test_an_index_goes_on_in_the_next_byte() -> None:
    found = pack(np.array([0b111111, 0b000001, 0b100000], np.uint8), 6)
    assert found.tolist() == [0b01111111, 0b00000000, 0b00000010]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 33, 64])
def test_what_is_packed_is_unpacked(bits: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_AT_ONCE", 16)
    indices = np.random.default_rng(count).integers(0, 2**bits, count, dtype=np.uint8)
    packed = pack(indices, bits)
    # NumPy's own bits of each index, the lowest first, one after the other.
    ones = np.unpackbits(indices[:, np.newaxis], axis=1, bitorder="little")[:, :bits]
    np.testing.assert_array_equal(packed, np.packbits(ones.ravel(), bitorder="little"))
    np.testing.assert_array_equal(unpack(packed, bits, count), indices)
