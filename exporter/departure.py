"""Finds the first node of a graph whose output departs from torch's.

Torch runs the captured program operator by operator; every value that graph and program share is
compared. First each is computed apart, from torch's own values right before it, so that an error
shows undiluted at the node that makes it. If no node departs so, the whole graph runs as one and is
bisected over its intermediate outputs: what is wrong then arises between nodes, in an engine's
fusions, or adds up.

In memory are the values that later ones need and one node's weights, and for the bisection the
engine's graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.probes import Array, Dependencies, Probe, Step
from exporter.progress import Progress
from exporter.report import Departure, Spread, compare
from exporter.side_by_side import Pair, SideBySide
from exporter.torch_program import TorchProgram

LIMITS_DB: dict[str, float] = {"fp32": 100.0, "fp16": 55.0, "bf16": 37.0}
"""PSNR that a node computed apart must reach, by the precision of its weights or arithmetic.

In float32 the nodes of SD 1.5 at 512×512 reach 120 dB and more; a node's output rounded to fp16
has 75 to 95, a value of one weight in a thousand that is wrong below 80. A node whose weights were
rounded to fp16 has 65 dB and more, rounded to bf16 47 and more.
"""

CUTS_AT_ONCE = 15
"""Cuts that one round of the bisection looks at: torch and the engine run once a round."""


@dataclass(frozen=True)
class Shown:
    """The nodes that a user knows, where the graph that runs is not the one in the bundle.

    Attributes:
        steps: all of them.
        of_operator: the program's name of a value → the node that gives it.
    """

    steps: Sequence[Step]
    of_operator: Mapping[str, Step]


@dataclass(frozen=True)
class Subject:
    """A graph to search, and what its values are compared with.

    Attributes:
        probe: the graph as it runs.
        pristine: the same graph as captured and lowered now, with the reference's weights: tells
            nodes apart that are one operator to torch.
        program: torch's program, with the reference's weights.
        origins: value of the graph → the program's names of it.
        shown: the bundle's own nodes where what runs was lowered from them, else None.
        limit_db: what a node computed apart must reach.
        threshold_db: what the whole graph must reach.
    """

    probe: Probe
    pristine: Probe
    program: TorchProgram
    origins: Mapping[str, tuple[str, ...]]
    shown: Shown | None
    limit_db: float
    threshold_db: float


def find_departure(
    subject: Subject, feeds: Mapping[str, Array], progress: Progress
) -> Departure | None:
    """Finds the first node that departs from torch, in the order in which torch runs.

    Args:
        subject: what is searched.
        feeds: one call of the component, by port name.
        progress: called with lines on what is done.

    Returns:
        The node with its figures, or None where every node and the whole reach their limits.

    Raises:
        EngineError: the engine failed.
    """
    search = _Search(subject, feeds)
    progress(f"computing {len(search.checked)} values apart, each from torch's own")
    found = search.apart()
    if found is None:
        progress("no node departs by itself; bisecting the graph as a whole")
        found = search.in_place()
    return found


def find_within(
    subject: Subject,
    feeds: Mapping[str, Array],
    bounds: Collection[str],
    within: Collection[str],
) -> Departure | None:
    """Finds the first node that departs among some values of a graph.

    Args:
        subject: what is searched.
        feeds: one call of the component, by port name.
        bounds: values between the parts of the graph, which are kept to compute others from.
        within: the values that may depart.

    Returns:
        The node with its figures, or None where none departs by itself.
    """
    return _Search(subject, feeds, {*bounds, *within}).apart(within)


class _Search:
    """One search: torch's values go by once and are kept as long as the graph needs them."""

    def __init__(
        self,
        subject: Subject,
        feeds: Mapping[str, Array],
        checked: Collection[str] | None = None,
    ) -> None:
        self._subject = subject
        self._feeds = feeds
        self._both = SideBySide(subject.probe, subject.program, subject.origins, checked)
        self.checked = self._both.checked
        self._dependencies = self._both.dependencies
        self._pristine = Dependencies.of(subject.pristine.steps)

    def apart(self, wanted: Collection[str] | None = None) -> Departure | None:
        """The first value that departs when it is computed from torch's values."""
        for pair in self._both.pairs(self._feeds, wanted):
            if departs(pair.reference, pair.found, self._subject.limit_db):
                return self._named(pair)
        return None

    def in_place(self) -> Departure | None:
        """The first value that misses the graph's own threshold when all of it runs as one.

        Bisected over cuts through the graph: a cut is good where every value that crosses it is.
        """
        values = list(self.checked)
        good, bad = -1, len(values)
        while bad - good > 1:
            cuts = sorted({int(n) for n in np.linspace(good, bad, CUTS_AT_ONCE + 2)[1:-1].round()})
            cuts = [cut for cut in cuts if good < cut < bad]
            crossing = {cut: self._crossing(values, cut) for cut in cuts}
            wanted = sorted({value for crossed in crossing.values() for value in crossed})
            departed = self._departed_in_place(wanted)
            first = next((cut for cut in cuts if departed & crossing[cut]), None)
            earlier = [cut for cut in cuts if first is None or cut < first]
            good, bad = max([good, *earlier]), bad if first is None else first
        if bad == len(values):
            return None
        value = values[bad]
        reference, found = self._pair_in_place(value)
        return self._report(value, value, (), reference, found, where="in place")

    def _crossing(self, values: Sequence[str], cut: int) -> set[str]:
        """The value at a cut, and those before it that something behind it needs."""
        place = self.checked[values[cut]]
        before = values[: cut + 1]
        return {v for v in before if self._both.needed_after(v, place)} | {values[cut]}

    def _departed_in_place(self, values: Sequence[str]) -> set[str]:
        references, found = self._references(values), self._in_place(values)
        threshold = self._subject.threshold_db
        return {v for v in references if departs(references[v], found[v], threshold)}

    def _pair_in_place(self, value: str) -> tuple[Array, Array]:
        return self._references([value])[value], self._in_place([value])[value]

    def _in_place(self, values: Sequence[str]) -> dict[str, Array]:
        """Values of the whole graph, none of which is cut off."""
        probe = self._subject.probe
        return probe.in_place(list(dict.fromkeys((*values, *probe.outputs))), self._feeds)

    def _references(self, values: Sequence[str]) -> dict[str, Array]:
        """Torch's own values, from one run of the program."""
        wanted = set(values)
        passing = self._both.references(self._feeds)
        return {value: found for _, value, found in passing if value in wanted}

    def _named(self, pair: Pair) -> Departure:
        """The node behind a value that departs, where several nodes are one operator to torch."""
        value, known, shapes = pair.value, pair.known, pair.shapes
        reference, found = pair.reference, pair.found
        subject = self._subject
        steps = self._dependencies.between(value, known, shapes)
        pairs = _paired(steps, self._pristine.between(value, known, shapes), value)
        if pairs:
            expected = subject.pristine.apart(list(pairs.values()), known, shapes)
            within = subject.probe.apart(list(pairs), known, shapes)
            for name, twin in pairs.items():
                if departs(expected[twin], within[name], subject.limit_db):
                    return self._report(
                        twin, value, steps, expected[twin], within[name], where="apart"
                    )
        return self._report(value, value, steps, reference, found, where="apart")

    def _report(
        self,
        name: str,
        value: str,
        steps: Sequence[Step],
        reference: Array,
        found: Array,
        *,
        where: str,
    ) -> Departure:
        step = self._shown(name, value)
        same_shape = reference.shape == found.shape
        figures = compare([(reference, found)]) if same_shape else None
        return Departure(
            node=step.name,
            op=step.op,
            module=step.name.rpartition("/")[0],
            weights=step.weights,
            found=tuple(f"{step.name} ({step.op})" for step in steps),
            where=where,
            reference=spread(reference),
            output=spread(found),
            max_abs=None if figures is None else figures.max_abs,
            psnr_db=None if figures is None else figures.psnr_db,
            limit_db=self._subject.limit_db if where == "apart" else self._subject.threshold_db,
            checked=len(self.checked),
        )

    def _shown(self, name: str, value: str) -> Step:
        """The bundle's node for a value `name`, behind which is `value`, which torch has too."""
        subject = self._subject
        step = self._pristine.producers.get(name) or self._dependencies.producers[name]
        shown = subject.shown
        if shown is None or (step.name, step.op) in {(s.name, s.op) for s in shown.steps}:
            return step
        known = (shown.of_operator.get(operator) for operator in subject.origins[value])
        return next((found for found in known if found is not None), step)


def _paired(steps: Sequence[Step], pristine: Sequence[Step], last: str) -> dict[str, str]:
    """Values before `last` → their twins, in order: by place, else by name where nodes differ."""
    ours, twins = (
        [s.outputs[0] for s in some if s.outputs[0] != last and not s.reads_shape]
        for some in (steps, pristine)
    )
    if len(ours) == len(twins):
        return dict(zip(ours, twins, strict=True))
    return {name: name for name in ours if name in twins}


def departs(reference: Array, found: Array, limit_db: float) -> bool:
    """Whether a value misses its limit, or one of the two is not finite."""
    if reference.shape != found.shape:
        return True
    exact = np.float32 if reference.dtype == np.float32 else np.float64
    # Of two close values float32 gives the exact difference; `compare` takes 20 times as long.
    difference = np.ravel(reference.astype(exact, copy=False) - found.astype(exact, copy=False))
    error = float(difference @ difference) / max(difference.size, 1)
    peak = float(np.abs(reference).max(initial=0))
    if not np.isfinite(error) or not np.isfinite(peak):
        return True
    return error > 0 and (peak == 0 or 10 * np.log10(peak**2 / error) < limit_db)


def spread(values: Array) -> Spread:
    """The range of an array's finite values, and how many are not finite."""
    finite = values[np.isfinite(values)]
    return Spread(
        shape=values.shape,
        minimum=float(finite.min()) if finite.size else None,
        maximum=float(finite.max()) if finite.size else None,
        non_finite=int(values.size - finite.size),
    )
