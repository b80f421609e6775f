"""Indices of a few bits side by side in bytes, least significant bits first, as MIL stores them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.uint8]

_AT_ONCE = 2**20  # a multiple of 8, so that parts end where bytes end


def pack(indices: Indices, bits: int) -> Indices:
    """Packs indices; an index that doesn't fit into a byte's rest goes on in the next byte.

    Args:
        indices: uint8 of any shape, each below 2**bits; read row by row.
        bits: of each, 1 to 8.

    Returns:
        uint8 [ceil(bits · size / 8)]; bits that are left over are 0.
    """
    flat = np.ravel(indices)
    if bits == 8:
        return flat.copy()
    parts = [_pack(flat[at : at + _AT_ONCE], bits) for at in range(0, len(flat), _AT_ONCE)]
    return np.concatenate(parts)[: -(-len(flat) * bits // 8)]


def unpack(packed: Indices, bits: int, count: int) -> Indices:
    """What `pack` packed.

    Args:
        packed: uint8 [ceil(bits · count / 8)].
        bits: of each index, 1 to 8.
        count: of indices.

    Returns:
        uint8 [count].
    """
    eights = -(-count // 8)
    padded = np.zeros(eights * bits, np.uint8)
    padded[: len(packed)] = packed
    words = np.zeros((eights, 8), np.uint8)
    words[:, :bits] = padded.reshape(eights, bits)
    shifts = np.arange(8, dtype=np.uint64) * np.uint64(bits)
    found = (words.view("<u8") >> shifts) & np.uint64(2**bits - 1)
    return found.astype(np.uint8).ravel()[:count]


def _pack(flat: Indices, bits: int) -> Indices:
    """Eight indices take `bits` bytes: they are shifted into one word, whose lower bytes remain."""
    eights = np.zeros((-(-len(flat) // 8), 8), np.uint8)
    eights.ravel()[: len(flat)] = flat
    words = np.zeros(len(eights), "<u8")
    for place in range(8):
        words |= eights[:, place].astype("<u8") << np.uint64(place * bits)
    return words.view(np.uint8).reshape(-1, 8)[:, :bits].ravel()
