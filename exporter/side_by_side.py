"""A graph beside torch's program: torch's values go by once, the graph's are computed from them.

What both share is known by name (see `exporter.passes.naming`). A value is computed apart, from the
nearest of torch's own values before it, so that an error shows undiluted where it is made. In
memory are the values that later ones need, and the weights of the part that is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from exporter.probes import Array, Dependencies, Probe
from exporter.torch_program import TorchProgram, as_array


@dataclass(frozen=True)
class Pair:
    """A value of the graph that torch has, too.

    Attributes:
        value: its name in the graph.
        reference: torch's.
        found: the graph's, computed from `known` alone.
        known: torch's values before it, the feeds among them.
        shapes: of all that torch has computed so far.
    """

    value: str
    reference: Array
    found: Array
    known: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]


class SideBySide:
    """A graph and a program over the same inputs.

    Attributes:
        checked: the values that are compared → the place in the program that gives each.
        dependencies: of the graph's values.
    """

    def __init__(
        self,
        probe: Probe,
        program: TorchProgram,
        origins: Mapping[str, tuple[str, ...]],
        checked: Collection[str] | None = None,
    ) -> None:
        """Takes the two.

        Args:
            probe: the graph.
            program: torch's program.
            origins: value of the graph → the program's names of it.
            checked: the values to compare, and to compute others from; None for all shared ones.
        """
        self._probe, self._program = probe, program
        places = {name: index for index, name in enumerate(program.operators)}
        shared = shared_values(probe, program, origins)
        self._value_of = {operator: value for value, operator in shared.items()}
        self.checked = {
            value: places[operator]
            for value, operator in shared.items()
            if checked is None or value in checked
        }
        self.dependencies = Dependencies.of(probe.steps)
        self._last_need = self._last_needs()

    def needed_after(self, value: str, place: int) -> bool:
        """Whether something behind a place of the program is computed from a value."""
        return self._last_need.get(value, place + 1) > place

    def pairs(
        self, feeds: Mapping[str, Array], wanted: Collection[str] | None = None
    ) -> Iterator[Pair]:
        """Computes the checked values, in the order in which torch runs.

        Args:
            feeds: one call, by port name.
            wanted: those of the checked ones to compute; None for all.

        Raises:
            EngineError: the engine failed.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        known: dict[str, Array] = dict(feeds)
        for index, value, reference in self.references(feeds):
            if value in self.checked:
                if wanted is None or value in wanted:
                    found = self._probe.apart([value], known, shapes)[value]
                    yield Pair(value, reference, found, known, shapes)
                known[value] = reference
            shapes[value] = reference.shape
            known = {name: v for name, v in known.items() if self.needed_after(name, index)}

    def references(self, feeds: Mapping[str, Array]) -> Iterator[tuple[int, str, Array]]:
        """Torch's own values that the graph has, too, with their places, as the program runs."""
        state = self._program.start(feeds)
        for index, operator in enumerate(self._program.operators):
            state = self._program.advance(state, index)
            value = self._value_of.get(operator)
            found = None if value is None else as_array(state.get(operator))
            if value is not None and found is not None:
                yield index, value, found

    def _last_needs(self) -> dict[str, int]:
        """Value → the place in the program of the last checked value that is computed from it."""
        found: dict[str, int] = dict(self.checked)
        for value, place in self.checked.items():
            for needed in self.dependencies.needed(value, self.checked, self.checked):
                found[needed] = max(found[needed], place)
        end = len(self._program.operators)
        return found | dict.fromkeys(set(self._probe.outputs) & found.keys(), end)


def shared_values(
    probe: Probe, program: TorchProgram, origins: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """The graph's values that the program has too → its name there, in the program's order."""
    order = {name: index for index, name in enumerate(program.operators)}
    given = {value for step in probe.steps for value in step.outputs}
    found: dict[str, str] = {}
    for value, names in origins.items():
        places = [name for name in names if name in order]
        if value in given and places:
            found[value] = min(places, key=order.__getitem__)  # the first of equal ones
    return dict(sorted(found.items(), key=lambda item: order[item[1]]))
