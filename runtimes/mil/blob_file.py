"""Reads the file that a package keeps its weights in (MILBlob's storage), mapped.

A header of 64 bytes: the count of tensors and the version 2 (uint32 each). For each tensor, at a
multiple of 64: a sentinel, its element type (uint32 each), its bytes, the offset of its data and
the unused bits of its last byte (uint64 each). The program refers to that place by its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtimes.errors import BundleError
from runtimes.mil.packed_bits import sign_extend, unpack_bits
from runtimes.mil.values import Array, TensorType

_HEADER = struct.Struct("<II56x")
_METADATA = struct.Struct("<IIQQQ32x")
_ALIGNMENT = 64
_VERSION = 2
_SENTINEL = 0xDEADBEEF
_NAMES: Mapping[int, str] = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}
"""Element types by their number in the file."""


@dataclass(frozen=True)
class BlobFile:
    """An open weight file.

    Attributes:
        path: of the file.
        mapped: its bytes, uint8.
    """

    path: Path
    mapped: Array

    @classmethod
    def open(cls, path: Path) -> BlobFile:
        """Maps a file and checks its header.

        Raises:
            BundleError: it can't be read, or is no weight file.
        """
        try:
            size = path.stat().st_size
            if size < _HEADER.size:
                raise BundleError(f"{path} is cut off: it has {size} bytes. Make it again.")
            mapped = np.memmap(path, np.uint8, mode="r")
        except OSError as e:
            raise BundleError(f"{path} can't be read: {e.strerror}.") from e
        _, version = _HEADER.unpack(mapped[: _HEADER.size].tobytes())
        if version != _VERSION:
            raise BundleError(
                f"{path} is no weight file of version {_VERSION}: it says {version}. Make it again."
            )
        return cls(path, np.asarray(mapped))

    def read(self, offset: int, kind: TensorType) -> Array:
        """A tensor in its stored dtype: a view of the mapped file, below 8 bits a copy.

        Args:
            offset: of its metadata.
            kind: what the program says it is.

        Raises:
            BundleError: there is no such tensor at that place.
        """
        raw, count = self._data(offset, kind), kind.count or 0
        dtype, shape = kind.dtype, [size or 0 for size in kind.shape]
        if dtype.bits >= 8:
            return raw.view(dtype.stored).reshape(shape)
        unpacked = unpack_bits(raw, dtype.bits, count)
        signed = sign_extend(unpacked, dtype.bits) if dtype.name == "int4" else unpacked
        return signed.reshape(shape)

    def check(self, offset: int, kind: TensorType) -> None:
        """Refuses what `read` would, without reading the data.

        Raises:
            BundleError: there is no such tensor at that place.
        """
        self._data(offset, kind)

    def _data(self, offset: int, kind: TensorType) -> Array:
        if offset < 0 or offset % _ALIGNMENT or offset + _METADATA.size > self.mapped.size:
            raise self._error(f"the program points to byte {offset} of {self.mapped.size}")
        metadata = self.mapped[offset : offset + _METADATA.size].tobytes()
        sentinel, number, size, start, unused_bits = _METADATA.unpack(metadata)
        if sentinel != _SENTINEL:
            raise self._error(f"there is no tensor at byte {offset}")
        found = _NAMES.get(number, f"element type {number}")
        bits = size * 8 - (unused_bits if kind.dtype.bits < 8 else 0)
        if found != kind.dtype.name or kind.count is None or bits != kind.count * kind.dtype.bits:
            raise self._error(
                f"at byte {offset} are {size} bytes of {found}, where the program has {kind}"
            )
        if start + size > self.mapped.size:
            raise self._error(
                f"the tensor at byte {offset} ends at {start + size} of {self.mapped.size}"
            )
        return self.mapped[start : start + size]

    def _error(self, what: str) -> BundleError:
        return BundleError(f"{self.path} is cut off or altered: {what}. Make it again.")
