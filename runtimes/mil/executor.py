"""Evaluates a function of an ML Program in NumPy. To verify and to test with, not for speed.

Operations run in the program's order, and a value is freed behind its last use. Constants stay in
the mapped file: each is widened, or made dense, where an operation takes it, and let go again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np

from runtimes.errors import EngineError
from runtimes.mil.check import CONST, CONSTEXPR, arguments, check_program
from runtimes.mil.ops.table import MOVING, OPS
from runtimes.mil.package import Package
from runtimes.mil.program import Feature, Function, Interface, NamedType, Operation, Value
from runtimes.mil.signature import parameters
from runtimes.mil.values import Array, TensorType, round_to_half

Arithmetic = Literal["fp32", "fp16"]
"""How values are computed that the program types as fp16.

"fp32" keeps them in single precision, from weights that are stored in half. "fp16" computes each
operation in single precision and rounds its result to half, beyond 65504 to infinity. That is not
how any one device computes: it stands for the coarsest of what half precision may do to a program.
"""

Held = Array | str | tuple[str, ...]


class Executor:
    """One function of a package, ready to be called. A call is pure; calls may run at once.

    Attributes:
        function: as the program has it.
        interface: its inputs and outputs as the model's description has them.
    """

    function: Function
    interface: Interface

    def __init__(
        self, package: Package, *, function: str | None = None, arithmetic: Arithmetic = "fp32"
    ) -> None:
        """Checks that a function can be evaluated.

        Args:
            package: an open package.
            function: by its name; None for the package's default.
            arithmetic: how fp16 is computed.

        Raises:
            EngineError: the package has no such function, or the function an operation that the
                executor doesn't know.
        """
        name = package.model.default_function if function is None else function
        if name not in package.model.functions:
            raise EngineError(
                f"{package.path} has no function {name!r} (it has: "
                f"{', '.join(sorted(package.model.functions))})."
            )
        self.function = package.model.functions[name]
        self.interface = package.model.interfaces[name]
        check_program(package.path, self.function)
        self._package, self._rounds = package, arithmetic == "fp16"
        made = {
            one.name: operation
            for operation in self.function.block.operations
            if _is_constant(operation)
            for one in operation.outputs
        }
        self._constants: Mapping[str, Operation] = made
        self._steps = [op for op in self.function.block.operations if not _is_constant(op)]
        self._dead_after = _last_uses(self._steps, self.function.block.outputs)

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Evaluates the function.

        Args:
            feeds: an array for each input.
            outputs: names of the outputs wanted; None for all.

        Returns:
            By name. Floats are float32, whatever the program types them as.

        Raises:
            EngineError: a feed is missing or isn't of the program's type, or an operation failed.
        """
        with np.errstate(all="ignore"):
            held = {one.name: self._fed(one, feeds) for one in self.function.inputs}
            for step, operation in enumerate(self._steps):
                self._run(operation, held)
                for name in self._dead_after.get(step, ()):
                    held.pop(name, None)
            wanted = self.function.block.outputs if outputs is None else outputs
            return {name: np.array(self._take(name, held)) for name in wanted}

    def _fed(self, one: NamedType, feeds: Mapping[str, Array]) -> Array:
        if one.name not in feeds:
            raise EngineError(f"{self._package.path}: the input {one.name!r} isn't fed.")
        shape = feeds[one.name].shape
        for feature in self.interface.inputs:
            if feature.name == one.name and not _allows(feature, shape):
                raise EngineError(
                    f"{self._package.path}: the input {one.name!r} has shape {list(shape)}; the "
                    f"package takes {_sizes(feature)}."
                )
        return self._settle(one, feeds[one.name], self._rounds)

    def _run(self, operation: Operation, held: dict[str, Array]) -> None:
        taken = parameters(operation.op)
        given: dict[str, object] = {}
        for name, bound in arguments(operation).items():
            values = tuple(self._argument(one, held) for one in bound)
            given[name] = values if taken[name].is_several else values[0]
        rounds = self._rounds and operation.op not in MOVING
        for one, result in self._results(operation, given):
            held[one.name] = self._settle(one, result, rounds)

    def _results(
        self, operation: Operation, given: Mapping[str, object]
    ) -> list[tuple[NamedType, Array]]:
        """What an operation's function makes of its arguments, by output."""
        name = operation.outputs[0].name
        try:
            result = OPS[operation.op](**given)
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as e:
            raise EngineError(
                f"{self._package.path}: the value {name!r} can't be made by {operation.op!r}: {e}."
            ) from e
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(operation.outputs):
            raise EngineError(
                f"{self._package.path}: {operation.op!r} makes {len(results)} values, where the "
                f"program has {len(operation.outputs)}, {name!r} first."
            )
        return list(zip(operation.outputs, results, strict=True))

    def _argument(self, bound: str | Value, held: Mapping[str, Array]) -> Held:
        if isinstance(bound, str):
            return self._take(bound, held)
        return _widened(self._package.read(bound))

    def _take(self, name: str, held: Mapping[str, Array]) -> Held:
        return held[name] if name in held else _widened(self._constant(name))

    def _constant(self, name: str) -> Held:
        """A constant in its stored dtype; one that is compressed is made dense."""
        operation = self._constants[name]
        if operation.op == CONST:
            return self._package.read(operation.attributes["val"])
        given: dict[str, Held] = {}
        for parameter, (bound, *_) in arguments(operation).items():
            is_named = isinstance(bound, str)
            given[parameter] = self._constant(bound) if is_named else self._package.read(bound)
        found = {one.name: (one, made) for one, made in self._results(operation, given)}
        one, made = found[name]
        # What the program stores in half is rounded to half in either arithmetic: with more bits
        # it would be another weight.
        return self._checked(one, made).astype(_type(one).dtype.stored, copy=False)

    def _settle(self, one: NamedType, array: Array, rounds: bool) -> Array:
        """A value as it is held from here on."""
        dtype = _type(one).dtype
        settled = self._checked(one, array).astype(dtype.held, copy=False)
        return round_to_half(settled) if rounds and dtype.name == "fp16" else settled

    def _checked(self, one: NamedType, array: Array) -> Array:
        if not _type(one).fits(np.shape(array)):
            raise EngineError(
                f"{self._package.path}: the value {one.name!r} has shape {list(np.shape(array))}, "
                f"where the program has {_type(one)}."
            )
        return np.asarray(array)


def _type(one: NamedType) -> TensorType:
    """What `check_program` found to be a tensor's type."""
    return cast("TensorType", one.type)


def _allows(feature: Feature, shape: tuple[int, ...]) -> bool:
    """Whether an input may have a shape, by what the model's description says."""
    if feature.shapes:
        return shape in feature.shapes
    if feature.ranges and len(shape) == len(feature.ranges):
        return all(
            low <= size and (high < 0 or size <= high)
            for size, (low, high) in zip(shape, feature.ranges, strict=True)
        )
    return shape == feature.shape


def _sizes(feature: Feature) -> str:
    if feature.shapes:
        return ", ".join(str(list(shape)) for shape in feature.shapes)
    if feature.ranges:
        return ", ".join(f"{low} to {high if high >= 0 else 'any'}" for low, high in feature.ranges)
    return str(list(feature.shape))


def _is_constant(operation: Operation) -> bool:
    return operation.op == CONST or operation.op.startswith(CONSTEXPR)


def _widened(value: Held) -> Held:
    """A constant in the dtype that is computed with."""
    if isinstance(value, np.ndarray) and value.dtype == np.float16:
        return value.astype(np.float32)
    return value


def _last_uses(steps: Sequence[Operation], kept: Sequence[str]) -> dict[int, list[str]]:
    """Which values no step behind a step takes."""
    last = {
        name: step
        for step, operation in enumerate(steps)
        for name in (*_taken(operation), *(one.name for one in operation.outputs))
    }
    dead: dict[int, list[str]] = {}
    for name, step in last.items():
        if name not in kept:
            dead.setdefault(step, []).append(name)
    return dead


def _taken(operation: Operation) -> list[str]:
    bound = arguments(operation).values()
    return [one for several in bound for one in several if isinstance(one, str)]
