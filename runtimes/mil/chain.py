"""Several packages as one graph: each runs on what was fed and what the one before it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtimes.mil.program import Feature, Interface
from runtimes.mil.values import Array


class Link(Protocol):
    """A loaded function: an `Executor`, or a model of Core ML's."""

    @property
    def interface(self) -> Interface:
        """Its inputs and outputs."""
        ...

    def __call__(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        """Runs it.

        Args:
            feeds: at least an array for each input.
            outputs: names of the outputs wanted.
        """
        ...


@dataclass(frozen=True)
class Chain:
    """Functions that run one behind the other, such as the two halves of a U-Net.

    Attributes:
        links: in that order; at least one.
    """

    links: tuple[Link, ...]

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """What is fed from outside, each once."""
        fed: dict[str, Feature] = {}
        made: set[str] = set()
        for link in self.links:
            for one in link.interface.inputs:
                if one.name not in made:
                    fed.setdefault(one.name, one)
            made = {one.name for one in link.interface.outputs}
        return tuple(fed.values())

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """Those of the last function."""
        return self.links[-1].interface.outputs

    def __call__(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        """Runs all.

        Args:
            feeds: an array for each of `inputs`.
            outputs: names of the outputs wanted.

        Raises:
            EngineError: an operation failed.
        """
        made: Mapping[str, Array] = {}
        for link in self.links[:-1]:
            made = link({**feeds, **made}, [one.name for one in link.interface.outputs])
        return self.links[-1]({**feeds, **made}, outputs)
