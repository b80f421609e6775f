"""Several packages as one graph: each runs on what was fed and what the one before it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtimes.mil.executor import Executor
from runtimes.mil.program import Feature
from runtimes.mil.values import Array


@dataclass(frozen=True)
class Chain:
    """Functions that run one behind the other, such as the two halves of a U-Net.

    Attributes:
        executors: in that order; at least one.
    """

    executors: tuple[Executor, ...]

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """What is fed from outside, each once."""
        fed: dict[str, Feature] = {}
        made: set[str] = set()
        for executor in self.executors:
            for one in executor.interface.inputs:
                if one.name not in made:
                    fed.setdefault(one.name, one)
            made = {one.name for one in executor.interface.outputs}
        return tuple(fed.values())

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """Those of the last function."""
        return self.executors[-1].interface.outputs

    def __call__(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Evaluates all; see `Executor`.

        Args:
            feeds: an array for each of `inputs`.
            outputs: names of the outputs wanted.

        Raises:
            EngineError: an operation failed.
        """
        made: dict[str, Array] = {}
        for executor in self.executors[:-1]:
            made = executor({**feeds, **made})
        return self.executors[-1]({**feeds, **made}, outputs)
