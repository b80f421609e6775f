"""Looks inside a graph: any of its values, computed from any others. One file per kind of graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Step:
    """A node of a graph as a search sees it.

    Attributes:
        name: of the node.
        op: its operator.
        inputs: the values that it reads and that depend on the graph's inputs.
        outputs: the values that it gives.
        weights: keys of the weights that it reads, at once or behind nodes that only shape weights.
        reads_shape: it reads its input's shape and none of its values.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    reads_shape: bool = False


class Probe(Protocol):
    """A graph whose values can be computed apart.

    Attributes:
        steps: the nodes that depend on the graph's inputs, in order of execution.
        inputs: names of the graph's inputs.
        outputs: names of its outputs.
    """

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def apart(
        self, names: Sequence[str], given: Mapping[str, Array], shapes: Shapes
    ) -> dict[str, Array]:
        """Computes values from given ones, by the part of the graph in between alone.

        Args:
            names: the values wanted, each once.
            given: values to start from; the part in between must need no others.
            shapes: of values that are not given, but whose shape the part may read.

        Raises:
            EngineError: the engine refuses the part, or fails.
        """
        ...

    def in_place(self, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Computes values, each named once, from the graph's inputs, all of it running as one.

        Raises:
            EngineError: the engine refuses the graph, or fails.
        """
        ...


@dataclass(frozen=True)
class Dependencies:
    """What the values of a graph are computed from.

    Attributes:
        producers: value → the step that gives it.
    """

    producers: Mapping[str, Step]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Dependencies:
        """Those of a probe's steps."""
        return cls({value: step for step in steps for value in step.outputs})

    def between(self, name: str, known: Collection[str], shaped: Collection[str]) -> list[Step]:
        """The steps that give a value from known ones, in order of execution.

        Args:
            name: the value.
            known: values where the way back ends, unless it begins there.
            shaped: values whose shape is known, where a step reads that alone.
        """
        found: dict[str, Step] = {}
        for step in self._walk(name, known, shaped):
            found.setdefault(step.name, step)
        return list(found.values())

    def needed(self, name: str, known: Collection[str], shaped: Collection[str]) -> set[str]:
        """The known values that a value is computed from, without others between."""
        return {
            value
            for step in self.between(name, known, shaped)
            for value in step.inputs
            if value in known and not (step.reads_shape and value in shaped)
        }

    def _walk(self, name: str, known: Collection[str], shaped: Collection[str]) -> Iterator[Step]:
        """Steps behind a value, each after those that it needs (and perhaps again)."""
        done: set[str] = set()
        waiting: list[tuple[str, bool]] = [(name, False)]
        while waiting:
            value, expanded = waiting.pop()
            step = self.producers.get(value)
            if step is None or (value in known and value != name):
                continue
            if expanded:
                yield step
                continue
            if value in done:
                continue
            done.add(value)
            waiting.append((value, True))
            if not (step.reads_shape and step.inputs and step.inputs[0] in shaped):
                waiting.extend((needed, False) for needed in step.inputs)
