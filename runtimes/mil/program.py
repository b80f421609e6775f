"""What a MIL program is: functions of blocks of operations over named values.

The names follow `MIL.proto` of Core ML's open model format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.mil.values import Array, TensorType


@dataclass(frozen=True)
class BlobReference:
    """Where a constant lies: `file` as the program names it, and the offset of its metadata."""

    file: str
    offset: int


@dataclass(frozen=True)
class Value:
    """A constant.

    Attributes:
        type: of the constant.
        data: its elements in their stored dtype, its text, its texts, or where they lie.
    """

    type: TensorType
    data: Array | str | tuple[str, ...] | BlobReference


Argument = tuple[str | Value, ...]
"""What is bound to a parameter: names of values and constants, one or (of `concat`, …) several."""


@dataclass(frozen=True)
class NamedType:
    """A value's name and type; None for what is no tensor."""

    name: str
    type: TensorType | None


@dataclass(frozen=True)
class Operation:
    """An operation of a block.

    Attributes:
        op: its operator, such as "conv".
        inputs: by parameter.
        outputs: what it makes.
        attributes: constants by name; "name" is the operation's own, and up to iOS 17's set those
            of compressed weights hold their parameters here.
        has_blocks: whether it holds blocks, as control flow does.
    """

    op: str
    inputs: Mapping[str, Argument]
    outputs: tuple[NamedType, ...]
    attributes: Mapping[str, Value]
    has_blocks: bool = False


@dataclass(frozen=True)
class Block:
    """Operations in the order of their evaluation, and the names of the results."""

    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function of a program.

    Attributes:
        inputs: its parameters.
        opset: the set of operations it is written in, such as "CoreML8" (iOS 18).
        block: its body in that set.
    """

    inputs: tuple[NamedType, ...]
    opset: str
    block: Block


@dataclass(frozen=True)
class Feature:
    """An input or output of a model, as its description tells.

    Attributes:
        name: of the value in the program.
        dtype: "float32", "float16", "int32", …
        shape: its sizes, of a flexible one the default.
        shapes: those that may be chosen among; empty without a choice.
        ranges: least and greatest size by axis (-1: no limit); empty without ranges.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a function."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        specification_version: 7 is iOS 16, 8 iOS 17, 9 iOS 18.
        functions: of the program, by name.
        interfaces: of each function, by its name.
        default_function: what runs where no function is named.
    """

    specification_version: int
    functions: Mapping[str, Function]
    interfaces: Mapping[str, Interface]
    default_function: str
