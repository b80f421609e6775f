"""Checks a function's program before anything of it is computed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from runtimes.errors import EngineError
from runtimes.mil.ops.table import OPS
from runtimes.mil.program import Argument, Function, Operation, Value
from runtimes.mil.signature import Parameter, parameters

CONST = "const"
CONSTEXPR = "constexpr_"


def arguments(operation: Operation) -> Mapping[str, Argument]:
    """What is bound to an operation's parameters, wherever the operation set puts it."""
    found = {name: (value,) for name, value in operation.attributes.items() if name != "name"}
    return found | dict(operation.inputs)


def check_program(path: Path, function: Function) -> None:
    """Refuses what the executor couldn't evaluate.

    Args:
        path: of the model file, for messages.
        function: of its program.

    Raises:
        EngineError: an operation or a mode of it is unknown, or is fed wrongly, or a value has a
            type that no array has. Names the operation and the value.
    """
    texts: dict[str, str] = {}
    known = {one.name for one in function.inputs}
    for one in function.inputs:
        if one.type is None:
            raise EngineError(f"{path}: the input {one.name!r} is no tensor.")
    for operation in function.block.operations:
        try:
            _check_operation(operation, known, texts)
        except _RefusalError as e:
            raise EngineError(f"{path}: {_where(operation)} {e}.") from None
        known.update(one.name for one in operation.outputs)
    for name in function.block.outputs:
        if name not in known:
            raise EngineError(f"{path}: the program gives {name!r}, which nothing makes.")


class _RefusalError(Exception):
    """What is wrong with an operation."""


def _where(operation: Operation) -> str:
    names = ", ".join(repr(one.name) for one in operation.outputs)
    return f"the value {names}" if names else f"an operation {operation.op!r}"


def _check_operation(operation: Operation, known: set[str], texts: dict[str, str]) -> None:
    for one in operation.outputs:
        if one.type is None:
            raise _RefusalError(f"is made by {operation.op!r} and is no tensor")
        if one.name in known:
            raise _RefusalError("is made twice")
    if operation.op == CONST:
        _check_constant(operation, texts)
        return
    if operation.op not in OPS or operation.has_blocks:
        close = difflib.get_close_matches(operation.op, OPS, n=1)
        hint = f" (the closest that it knows is {close[0]!r})" if close else ""
        raise _RefusalError(
            f"is made by the operation {operation.op!r}, which the reference executor doesn't "
            f"know{hint}"
        )
    _check_parameters(operation, known, texts)


def _check_constant(operation: Operation, texts: dict[str, str]) -> None:
    value = operation.attributes.get("val")
    if value is None or len(operation.outputs) != 1 or operation.outputs[0].type != value.type:
        raise _RefusalError("is a constant without a value of its type")
    if isinstance(value.data, str):
        texts[operation.outputs[0].name] = value.data


def _check_parameters(operation: Operation, known: set[str], texts: dict[str, str]) -> None:
    taken, given = parameters(operation.op), arguments(operation)
    for name, parameter in taken.items():
        if parameter.is_required and not given.get(name):
            raise _RefusalError(f"is made by {operation.op!r} without its {name!r}")
    for name, bound in given.items():
        if name not in taken:
            raise _RefusalError(
                f"is made by {operation.op!r} with {name!r}, which the reference executor doesn't "
                f"know (it knows: {', '.join(taken)})"
            )
        for one in bound:
            if isinstance(one, str) and one not in known:
                raise _RefusalError(f"is made from {one!r}, which nothing makes before it")
        if len(bound) != 1 and not taken[name].is_several:
            raise _RefusalError(f"is made by {operation.op!r} with {len(bound)} values as {name!r}")
        _check_text(operation.op, name, taken[name], bound[0] if bound else None, texts)


def _check_text(
    op: str, name: str, parameter: Parameter, bound: str | Value | None, texts: dict[str, str]
) -> None:
    text = texts.get(bound) if isinstance(bound, str) else _text(bound)
    if parameter.is_text != (text is not None):
        kind = "no constant text" if parameter.is_text else f"the text {text!r}"
        raise _RefusalError(f"is made by {op!r} with {kind} as {name!r}")
    if parameter.choices and text not in parameter.choices:
        raise _RefusalError(
            f"is made by {op!r} with {name} {text!r}, which the reference executor doesn't know "
            f"(it knows: {', '.join(parameter.choices)})"
        )


def _text(value: Value | None) -> str | None:
    """The text of a constant that is one."""
    return value.data if value is not None and isinstance(value.data, str) else None
