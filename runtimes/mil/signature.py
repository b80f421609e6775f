"""What an operation's function takes, read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args, get_origin, get_type_hints

from runtimes.mil.ops.table import OPS


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation.

    Attributes:
        is_required: whether it has no default.
        is_text: whether it takes a constant text.
        is_several: whether it takes any number of values.
        choices: the texts it takes, all where there are none.
    """

    is_required: bool
    is_text: bool
    is_several: bool
    choices: tuple[str, ...]


@cache
def parameters(op: str) -> Mapping[str, Parameter]:
    """The parameters of an operation of the table, by name."""
    function = OPS[op]
    hints = get_type_hints(function)
    return {
        name: _parameter(hints[name], found.default is inspect.Parameter.empty)
        for name, found in inspect.signature(function).parameters.items()
    }


def _parameter(hint: object, is_required: bool) -> Parameter:
    is_choice = get_origin(hint) is Literal
    return Parameter(
        is_required=is_required,
        is_text=is_choice or hint is str,
        is_several=get_origin(hint) is tuple,
        choices=get_args(hint) if is_choice else (),
    )
