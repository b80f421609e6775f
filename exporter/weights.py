"""The weight stream: safetensors headers in, one canonical safetensors file out, tensor by tensor.

A `.safetensors` file is an 8-byte little-endian header length, a JSON header of name → dtype, shape
and offsets, and raw little-endian tensors without gaps: what ONNX calls external data. Nothing here
holds more than one chunk of a tensor that is copied as it is, or one tensor that changes its dtype.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.errors import SourceError

Array = NDArray[np.generic]

ITEM_BYTES: dict[str, int] = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "I8": 1,
    "BOOL": 1,
}  # fmt: skip
"""Bytes per element of the safetensors dtypes that are read."""

PRECISIONS: dict[str, str] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
"""safetensors dtype → the name of the precision in manifests and options."""

_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}
_GGUF = b"GGUF"
_LFS_POINTER = b"version "
_QUANTISED = " Quantised weights are not taken; give the fp16, bf16 or fp32 model."
_SMALL_FLOATS = ("F8", "F6", "F4")
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
_DATA_ALIGNMENT = 4096  # so that mapped tensors start on a page
_CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class Tensor:
    """A tensor in a safetensors file.

    Attributes:
        file: the file.
        dtype: safetensors dtype, such as "F16".
        shape: its sizes.
        offset: absolute position of its first byte in the file.
        transposed: whether the file holds the transpose of this matrix.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    transposed: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes it takes in the file."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def read(self) -> Array:
        """The values; bfloat16 comes widened to float32, every other dtype as it is."""
        return decode(self.raw(), self.dtype).reshape(self.shape)

    def raw(self) -> bytes:
        """The little-endian bytes, row by row."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            stored = file.read(self.size_bytes)
        if not self.transposed:
            return stored
        # As whole numbers: NumPy has no bfloat16.
        items = np.frombuffer(stored, dtype=f"<u{ITEM_BYTES[self.dtype]}")
        return items.reshape(self.shape[::-1]).T.tobytes()


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: where its values come from and the dtype they get.

    Attributes:
        source: the tensor to copy.
        dtype: safetensors dtype in the new file.
    """

    source: Tensor
    dtype: str


def decode(raw: bytes, dtype: str) -> Array:
    """Values of raw little-endian bytes; bfloat16 comes widened to float32, losslessly."""
    values = np.frombuffer(raw, dtype=_NUMPY[dtype])
    if dtype == "BF16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def read_header(path: Path) -> dict[str, Tensor]:
    """Names, dtypes, shapes and places of the tensors of a safetensors file; reads no weights.

    Raises:
        SourceError: the file can't be read, isn't safetensors, is truncated, or its header
            contradicts itself.
    """
    header, start, file_bytes = _header(path)
    return _tensors(path, header, start=start, file_bytes=file_bytes)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file notes about itself: its `__metadata__`.

    Raises:
        SourceError: as `read_header`.
    """
    header, _, _ = _header(path)
    noted = header.get("__metadata__") if isinstance(header, dict) else None
    return {str(k): str(v) for k, v in noted.items()} if isinstance(noted, dict) else {}


def _header(path: Path) -> tuple[object, int, int]:
    """The header's JSON, where the data starts, and the file's bytes."""
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            length_bytes = file.read(8)
            if length_bytes.startswith(_GGUF):
                raise SourceError(
                    f"{path} is a GGUF file, whose weights are quantised; give the model in "
                    "safetensors, as fp16, bf16 or fp32."
                )
            if length_bytes == _LFS_POINTER:
                raise SourceError(
                    f"{path} is a Git LFS pointer, not the file it stands for: `git lfs pull` "
                    "fetches that."
                )
            if len(length_bytes) < 8:
                raise SourceError(f"{path} is not a safetensors file: it has {file_bytes} bytes.")
            (length,) = struct.unpack("<Q", length_bytes)
            if length > min(_MAX_HEADER_BYTES, file_bytes - 8):
                raise SourceError(
                    f"{path} is truncated or not a safetensors file: its header claims {length} "
                    f"bytes, the file has {file_bytes}. Download it again."
                )
            header = json.loads(file.read(length))
    except OSError as e:
        raise SourceError(f"{path} can't be read: {e.strerror}.") from e
    except (ValueError, RecursionError) as e:
        raise SourceError(f"{path} is not a safetensors file: its header is not JSON ({e}).") from e
    return header, 8 + length, file_bytes


def _tensors(path: Path, header: object, *, start: int, file_bytes: int) -> dict[str, Tensor]:
    if not isinstance(header, dict):
        raise SourceError(f"{path} is not a safetensors file: its header is no JSON object.")
    found: dict[str, Tensor] = {}
    end = start
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
            tensor = Tensor(path, str(dtype), tuple(int(n) for n in shape), start + int(first))
        except (TypeError, KeyError, ValueError) as e:
            raise SourceError(f"{path}: the header's entry for {name!r} is malformed.") from e
        if tensor.dtype not in ITEM_BYTES:
            known = ", ".join(ITEM_BYTES)
            hint = _QUANTISED if tensor.dtype[:2] in _SMALL_FLOATS else ""
            raise SourceError(f"{path}: {name} has dtype {tensor.dtype}; read are {known}.{hint}")
        if min(tensor.shape, default=0) < 0 or first < 0 or tensor.size_bytes != last - first:
            raise SourceError(f"{path}: {name}'s offsets don't fit its shape {tensor.shape}.")
        found[name] = tensor
        end = max(end, start + int(last))
    if end > file_bytes:
        raise SourceError(
            f"{path} is truncated: its tensors end at byte {end}, the file has {file_bytes}. "
            "Download it again."
        )
    return found


def read_index(path: Path) -> dict[str, Tensor]:
    """The tensors of a sharded model, from its `….safetensors.index.json`.

    Raises:
        SourceError: the index is malformed, a shard is missing or broken, or the two disagree.
    """
    shard_of = shards_of(path)
    found: dict[str, Tensor] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard:
            raise SourceError(f"{path}: shard {shard!r} is not in the same folder.")
        if not (path.parent / shard).is_file():
            raise SourceError(f"{path.parent / shard} is missing; {path.name} lists it.")
        tensors = read_header(path.parent / shard)
        for name in tensors:
            if shard_of.get(name, shard) != shard:
                raise SourceError(
                    f"{path}: {name} is in {shard}, and the index has it in {shard_of[name]}. "
                    "Download the folder again."
                )
        found |= tensors
    for name in shard_of.keys() ^ found.keys():
        where = "the index but not in its shard" if name in shard_of else "a shard, not the index"
        raise SourceError(f"{path}: {name} is in {where}. Download the folder again.")
    return found


def shards_of(path: Path) -> dict[str, str]:
    """Weight name → name of the file that has it, from a `….safetensors.index.json`.

    Raises:
        SourceError: the index is malformed.
    """
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        return {str(name): str(shard) for name, shard in weight_map.items()}
    except OSError as e:
        raise SourceError(f"{path} can't be read: {e.strerror}.") from e
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as e:
        raise SourceError(f"{path} is not a weight index: it has no readable weight_map.") from e


def layout(entries: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[bytes, dict[str, int]]:
    """The header of a canonical file and the absolute offset of every tensor.

    Tensors come with wider dtypes first, so that each is aligned to its own element, and by name
    within a dtype; the header is padded with spaces so that the data starts on a page.

    Args:
        entries: name → (safetensors dtype, shape).

    Returns:
        All bytes before the data, and name → absolute offset, in the order of the file.
    """
    order = sorted(entries, key=lambda name: (-ITEM_BYTES[entries[name][0]], name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    relative: dict[str, int] = {}
    end = 0
    for name in order:
        dtype, shape = entries[name]
        relative[name] = end
        end += math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [relative[name], end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _DATA_ALIGNMENT)
    prefix = struct.pack("<Q", len(text)) + text
    return prefix, {name: len(prefix) + offset for name, offset in relative.items()}


def write_safetensors(
    path: Path,
    entries: Mapping[str, tuple[str, tuple[int, ...]]],
    values: Callable[[str], Iterable[bytes | memoryview]],
    progress: Callable[[int], None] | None = None,
) -> str:
    """Writes a safetensors file tensor by tensor and hashes it on the way.

    Args:
        path: the new file.
        entries: name → (safetensors dtype, shape).
        values: gives the raw little-endian bytes of a tensor, in chunks.
        progress: called with the number of bytes just written.

    Returns:
        SHA-256 of the file, hex.

    Raises:
        ValueError: `values` gave another number of bytes than the entry takes.
        OSError: the file can't be written.
    """
    prefix, offsets = layout(entries)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        _write(file, digest.update, prefix)
        for name in offsets:
            dtype, shape = entries[name]
            left = math.prod(shape) * ITEM_BYTES[dtype]
            for chunk in values(name):
                _write(file, digest.update, chunk)
                left -= len(chunk)
                if progress is not None:
                    progress(len(chunk))
            if left != 0:
                raise ValueError(f"{name}: {left} bytes too few were given")
    return digest.hexdigest()


def _write(
    file: BinaryIO, update: Callable[[bytes | memoryview], None], chunk: bytes | memoryview
) -> None:
    file.write(chunk)
    update(chunk)


def stream(
    path: Path, plan: Mapping[str, Planned], progress: Callable[[int], None] | None = None
) -> str:
    """Copies tensors into one canonical file, renamed and cast as planned; returns its SHA-256."""
    entries = {name: (planned.dtype, planned.source.shape) for name, planned in plan.items()}
    return write_safetensors(path, entries, lambda name: _chunks(plan[name]), progress)


def _chunks(planned: Planned) -> Iterable[bytes | memoryview]:
    source = planned.source
    if planned.dtype != source.dtype:
        yield cast_to(source.read(), planned.dtype).tobytes()
        return
    if source.transposed:
        yield source.raw()
        return
    with source.file.open("rb") as file:
        file.seek(source.offset)
        left = source.size_bytes
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise SourceError(f"{source.file} became shorter while it was read.")
            left -= len(chunk)
            yield chunk


def cast_to(values: Array, dtype: str) -> Array:
    """Casts to a safetensors dtype.

    Raises:
        SourceError: a finite value becomes infinite, as large weights do in fp16.
    """
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, dtype=_NUMPY[dtype])
    if np.issubdtype(cast.dtype, np.floating) and (np.isinf(cast) & np.isfinite(values)).any():
        largest = float(np.abs(values[np.isfinite(values)]).max())
        raise SourceError(
            f"a weight of {largest:g} overflows {PRECISIONS.get(dtype, dtype)}; keep it in fp32."
        )
    return cast
