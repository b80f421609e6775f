"""Reads what an ONNX file declares, without the onnx package and without loading a weight.

An ONNX file is one protocol buffer. Its fields are walked over in the mapped file; what is not
wanted, tensor data above all, is skipped by its length. Numbers of fields: onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from runtimes.errors import BundleError
from runtimes.manifest import DType, Port, is_inside
from runtimes.optimum.header import Axes, GraphHeader, most_stored, named_port

_DTYPES: Mapping[int, DType] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
_STORED: Mapping[int, str] = {**_DTYPES, 21: "uint4", 22: "int4"}
_ITEM_BITS: Mapping[str, int] = {
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "uint4": 4,
}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Message:
    """A part of the file that holds a message, or the bytes of a text."""

    raw: mmap.mmap
    start: int
    end: int

    def fields(self) -> Iterator[tuple[int, int | Self]]:
        """Numbers and values of the fields, in the file's order."""
        at = self.start
        while at < self.end:
            key, at = self._varint(at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = self._varint(at)
                yield number, value
            elif wire == _BYTES:
                length, at = self._varint(at)
                if length > self.end - at:
                    raise ValueError("it is cut off")
                yield number, type(self)(self.raw, at, at + length)
                at += length
            elif wire in (_FIXED32, _FIXED64):
                at += 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"it has a field of wire type {wire}")

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while at < self.end and shift < 64:
            byte = self.raw[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value, at
        raise ValueError("it is cut off")

    def messages(self, number: int) -> Iterator[Self]:
        """The messages or texts in a field."""
        for found, value in self.fields():
            if found == number and not isinstance(value, int):
                yield value

    def message(self, number: int) -> Self | None:
        """The last one in a field, which is the one that counts."""
        return (list(self.messages(number)) or [None])[-1]

    def integer(self, number: int) -> int | None:
        """The last integer in a field."""
        found = [v for n, v in self.fields() if n == number and isinstance(v, int)]
        return found[-1] if found else None

    def text(self, number: int) -> str:
        """The last text in a field; empty where there is none."""
        found = self.message(number)
        return "" if found is None else self.raw[found.start : found.end].decode()


def read_onnx(path: Path, axes: Axes) -> GraphHeader:
    """Reads the header of an ONNX file.

    Args:
        path: the file.
        axes: names for axes that have none.

    Raises:
        BundleError: it can't be read or is no ONNX model, or a port or the place of its weights is
            of a kind that the runtime doesn't take.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return _read_model(path, _Message(raw, 0, len(raw)), axes)
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    except ValueError as e:  # an empty file can't be mapped, nor broken UTF-8 be decoded
        raise BundleError(f"{path} is not an ONNX model: {e}.") from e


def _read_model(path: Path, model: _Message, axes: Axes) -> GraphHeader:
    graph = model.message(7)
    if graph is None:
        raise ValueError("it has no graph")
    tensors = list(graph.messages(5))
    stored = {tensor.text(8) for tensor in tensors}  # before IR version 4, inputs list them too
    given = [value for value in graph.messages(11) if value.text(1) not in stored]
    inputs = [_port(path, value, axes) for value in given]
    outputs = [_port(path, value, axes) for value in graph.messages(12)]
    if not inputs or not outputs:
        raise ValueError("its graph has no inputs or no outputs")
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        dtype = _STORED.get(tensor.integer(2) or 0, "")
        sizes[dtype] += _count(tensor) * _ITEM_BITS.get(dtype, 0) // 8
    tool, release = model.text(2), model.text(3)
    return GraphHeader(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights=_weight_files(path, tensors),
        precision=most_stored(sizes),
        tools={tool: release} if tool and release else {},
    )


def _port(path: Path, value: _Message, axes: Axes) -> Port:
    """A ValueInfoProto: name 1, type 2; of the latter, tensor_type 1: elem_type 1, shape 2."""
    name, kind = value.text(1), value.message(2)
    tensor = kind.message(1) if kind is not None else None
    shape = tensor.message(2) if tensor is not None else None
    dtype = _DTYPES.get(tensor.integer(1) or 0) if tensor is not None else None
    if shape is None or dtype is None:
        raise BundleError(f"{path}: {name} is no tensor of a known shape and element type.")
    sizes = tuple(_axis(axis) for axis in shape.messages(1))
    return named_port(name, dtype, sizes, axes)


def _axis(axis: _Message) -> int | str | None:
    """A dimension: dim_value 1, or dim_param 2, or neither."""
    size = axis.integer(1)
    return size if size is not None else axis.text(2) or None


def _count(tensor: _Message) -> int:
    """How many numbers a TensorProto holds: dims 1, one by one or packed."""
    count = 1
    for number, value in tensor.fields():
        if number == 1 and isinstance(value, int):
            count *= value
        elif number == 1 and not isinstance(value, int):
            at = value.start
            while at < value.end:
                size, at = value._varint(at)  # pyright: ignore[reportPrivateUsage]
                count *= size
    return count


def _weight_files(path: Path, tensors: list[_Message]) -> tuple[str, ...]:
    """The files that external_data 13 names; an entry has key 1 and value 2."""
    entries = (entry for tensor in tensors for entry in tensor.messages(13))
    found = {entry.text(2) for entry in entries if entry.text(1) == "location"}
    for name in found:
        if not is_inside(name):
            raise BundleError(f"{path}: its weights lie in {name!r}, outside of its folder.")
    return tuple(sorted(str(PurePosixPath(name)) for name in found))
