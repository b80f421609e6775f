"""Takes a model file's messages apart.

The numbers of their fields: Model.proto, FeatureTypes.proto and MIL.proto of Core ML's open model
format (github.com/apple/coremltools, mlmodel/format).
"""

from __future__ import annotations

import numpy as np

from runtimes.mil.packed_bits import sign_extend, unpack_bits
from runtimes.mil.program import (
    Argument,
    BlobReference,
    Block,
    Feature,
    Function,
    Interface,
    Model,
    NamedType,
    Operation,
    Value,
)
from runtimes.mil.values import DATA_TYPES, STRING, Array, DataType, TensorType
from runtimes.mil.wire import Message, WireError

_ML_PROGRAM = 502
_FEATURE_DTYPES = {
    65568: "float32",
    65600: "float64",
    65552: "float16",
    131104: "int32",
    131080: "int8",
}
MAIN = "main"
"""The only function of a package before iOS 18's."""


def decode_model(raw: bytes) -> Model:
    """Reads a model file.

    Raises:
        WireError: it is no model, its model is no ML Program, or it holds what no program of the
            operation sets up to iOS 18 has.
    """
    model = Message(memoryview(raw))
    program, description = model.message(_ML_PROGRAM), model.message(2)
    if program is None or description is None:
        raise WireError("it is no ML Program")
    functions = {name: _function(found) for name, found in program.entries(2).items()}
    listed = {found.text(1): _interface(found, 2, 3) for found in description.messages(20)}
    interfaces = listed or {MAIN: _interface(description, 1, 10)}
    if set(interfaces) != set(functions):
        raise WireError(
            f"it describes the functions {_list(interfaces)}, and has {_list(functions)}"
        )
    default = description.text(21) or MAIN
    return Model(model.integer(1), functions, interfaces, default)


def _list(names: dict[str, Interface] | dict[str, Function]) -> str:
    return ", ".join(sorted(names)) or "none"


def _interface(message: Message, inputs: int, outputs: int) -> Interface:
    """Of a ModelDescription or a FunctionDescription."""
    return Interface(
        tuple(_feature(found) for found in message.messages(inputs)),
        tuple(_feature(found) for found in message.messages(outputs)),
    )


def _feature(message: Message) -> Feature:
    """A FeatureDescription: name 1, type 3; of the latter, multiArrayType 5."""
    name, kind = message.text(1), message.message(3)
    array = kind.message(5) if kind is not None else None
    if array is None or array.integer(2) not in _FEATURE_DTYPES:
        raise WireError(f"its feature {name!r} is no array")
    chosen, ranges = array.message(21), array.message(31)
    return Feature(
        name=name,
        dtype=_FEATURE_DTYPES[array.integer(2)],
        shape=tuple(array.integers(1)),
        shapes=tuple(tuple(one.integers(1)) for one in chosen.messages(1)) if chosen else (),
        ranges=tuple((one.integer(1), one.integer(2)) for one in ranges.messages(1))
        if ranges
        else (),
    )


def _function(message: Message) -> Function:
    opset = message.text(2)
    blocks = message.entries(3)
    if opset not in blocks:
        raise WireError(f"a function is of the operation set {opset!r}, and has no block of it")
    return Function(_named(message.messages(1)), opset, _block(blocks[opset]))


def _block(message: Message) -> Block:
    operations = tuple(_operation(found) for found in message.messages(3))
    return Block(operations, tuple(message.texts(2)))


def _operation(message: Message) -> Operation:
    return Operation(
        op=message.text(1),
        inputs={name: _argument(found) for name, found in message.entries(2).items()},
        outputs=_named(message.messages(3)),
        attributes={name: _value(found) for name, found in message.entries(5).items()},
        has_blocks=message.has(4),
    )


def _argument(message: Message) -> Argument:
    bindings = message.messages(1)
    return tuple(one.text(1) if one.has(1) else _value(one.message(2)) for one in bindings)


def _named(messages: list[Message]) -> tuple[NamedType, ...]:
    return tuple(NamedType(one.text(1), _type(one.message(2))) for one in messages)


def _type(message: Message | None) -> TensorType | None:
    """A ValueType; None for lists, tuples, dictionaries and states."""
    tensor = message.message(1) if message is not None else None
    if tensor is None:
        return None
    dtype = DATA_TYPES.get(tensor.integer(1))
    if dtype is None:
        raise WireError(f"it has a value of element type {tensor.integer(1)}")
    return TensorType(dtype, tuple(_size(found) for found in tensor.messages(3)))


def _size(message: Message) -> int | None:
    constant = message.message(1)
    return None if constant is None else constant.integer(1)


def _value(message: Message | None) -> Value:
    kind = _type(message.message(2)) if message is not None else None
    if message is None or kind is None:
        raise WireError("it has a constant that is no tensor")
    blob, immediate = message.message(5), message.message(3)
    if blob is not None:
        return Value(kind, BlobReference(blob.text(1), blob.integer(2)))
    tensor = immediate.message(1) if immediate is not None else None
    if tensor is None:
        raise WireError("it has a constant without elements")
    return Value(kind, _texts(tensor, kind) if kind.dtype == STRING else _elements(tensor, kind))


def _texts(tensor: Message, kind: TensorType) -> str | tuple[str, ...]:
    holder = tensor.message(4)
    found = holder.texts(1) if holder is not None else []
    _check_count(len(found), kind)
    return tuple(found) if kind.shape else found[0]


def _elements(tensor: Message, kind: TensorType) -> Array:
    """A TensorValue: floats 1, ints 2, bools 3, long ints 5, doubles 6, bytes 7."""
    dtype = kind.dtype
    if (holder := tensor.message(7)) is not None:
        found = _from_bytes(np.frombuffer(holder.bytes(1), np.uint8), dtype, kind.count or 0)
    elif (holder := tensor.message(1)) is not None:
        found = holder.floats(1).astype(dtype.stored)
    elif (holder := tensor.message(6)) is not None:
        found = holder.doubles(1).astype(dtype.stored)
    else:
        holder = tensor.message(2) or tensor.message(3) or tensor.message(5)
        found = np.array(holder.integers(1) if holder is not None else [], np.int64)
        found = found.astype(dtype.stored)
    _check_count(found.size, kind)
    return found.reshape([size or 0 for size in kind.shape])


def _from_bytes(raw: Array, dtype: DataType, count: int) -> Array:
    if dtype.bits < 8:
        unpacked = unpack_bits(raw, dtype.bits, count)
        return sign_extend(unpacked, dtype.bits) if dtype.name == "int4" else unpacked
    if raw.size % dtype.stored.itemsize:
        raise WireError(f"it has a constant of {raw.size} bytes, no whole count of {dtype.name}")
    return raw.view(dtype.stored)


def _check_count(found: int, kind: TensorType) -> None:
    if found != kind.count:
        raise WireError(f"it has a constant of type {kind} with {found} elements")
