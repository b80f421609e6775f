"""Unpacks elements of 1, 2, 3, 4 or 6 bits.

They lie one behind the other from the least significant bit of the first byte on; of one that is
split over two bytes, its own least significant bits come first.
"""

from __future__ import annotations

import math

import numpy as np

from runtimes.mil.values import Array


def unpack_bits(packed: Array, bits: int, count: int) -> Array:
    """Unpacks unsigned elements.

    Args:
        packed: uint8 [bytes].
        bits: of an element, 1 to 8.
        count: how many there are; the rest of the last byte is padding.

    Returns:
        Uint8 [count].
    """
    if bits == 8:
        return packed[:count]
    group_bytes = math.lcm(bits, 8) // 8
    groups = -(-len(packed) // group_bytes)
    padded = np.zeros(groups * group_bytes, np.uint8)
    padded[: len(packed)] = packed
    by_group = padded.reshape(groups, group_bytes)
    word = np.zeros(groups, np.uint32)
    for byte in range(group_bytes):
        word |= by_group[:, byte].astype(np.uint32) << np.uint32(8 * byte)
    unpacked = np.empty((groups, group_bytes * 8 // bits), np.uint8)
    for element in range(unpacked.shape[1]):
        unpacked[:, element] = (word >> np.uint32(bits * element)) & np.uint32((1 << bits) - 1)
    return unpacked.reshape(-1)[:count]


def sign_extend(unsigned: Array, bits: int) -> Array:
    """Two's complement of `bits` bits in uint8 → int8."""
    shift = 8 - bits
    return (unsigned << np.uint8(shift)).view(np.int8) >> np.int8(shift)
