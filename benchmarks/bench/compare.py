"""`latedge bench --compare old.json new.json`: what became worse between two runs, beyond noise.

Two runs don't take turns, so nothing cancels, and their intervals are wider than those of one run
(`between_runs` says what they are made of). All intervals of the times hold together at 95 %.
Where they can't tell a difference that matters, measure both bundles in one run, which can:
`latedge bench OLD NEW`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.bench.between_runs import MachineChange
from benchmarks.bench.changes import Figure, changes
from benchmarks.bench.ratios import CONFIDENCE
from benchmarks.bench.results import Report
from benchmarks.bench.same_setup import setup_differences
from runtimes.errors import UsageError

Outcome = Literal["regressed", "worse", "can't tell", "no difference", "better"]

TOLD_REFERENCE = 0.02
"""A change of the machine's speed beyond this is told."""


@dataclass(frozen=True)
class Row:
    """A figure and what its change amounts to.

    Attributes:
        subject: its name in both results.
        figure: with its change.
        outcome: "regressed": worse beyond the noise, and by more than the limit. "worse": beyond
            the noise, within the limit. "can't tell": no change is within the noise, and so is one
            beyond the limit, or too little was measured. "no difference": no change is within the
            noise, one beyond the limit isn't. "better": beyond the noise.
    """

    subject: str
    figure: Figure
    outcome: Outcome


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        fail_over: the limit, a share.
        rows: in the order of the new result.
        broken: subjects of the old result that the new one lacks, or that failed in it; a line
            each.
        notes: what else is to know, a line each.
    """

    fail_over: float
    rows: tuple[Row, ...]
    broken: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def regressed(self) -> tuple[Row, ...]:
        """The rows that fail."""
        return tuple(row for row in self.rows if row.outcome == "regressed")

    @property
    def failed(self) -> bool:
        """Whether something regressed, or can't be compared since it is gone."""
        return bool(self.regressed or self.broken)


def compare(old: Report, new: Report, fail_over: float, *, different: bool = False) -> Comparison:
    """Compares the subjects that two results share, by name.

    Args:
        old: what to be no worse than.
        new: what is judged.
        fail_over: by which share a figure may be worse, from `parse_limit`.
        different: compare although machines, models or settings differ; what differs is noted.

    Raises:
        UsageError: they differ and `different` isn't set, or they share no subject.
    """
    unlike = setup_differences(old, new)
    if unlike and not different:
        raise UsageError(
            f"the two results can't be compared: {'; '.join(unlike)}. Measure both alike, or add "
            "--different-models to compare them all the same."
        )
    before = {subject.name: subject for subject in old.subjects}
    shared = [subject for subject in new.subjects if subject.name in before]
    if not shared:
        raise UsageError(
            f"the two results share no subject, and subjects are matched by name: the old one has "
            f"{_names(old)}, the new one {_names(new)}."
        )
    machine = MachineChange.between(old.noise, new.noise)
    outside = (1 - CONFIDENCE) / len(shared)
    return Comparison(
        fail_over=fail_over,
        rows=tuple(
            Row(subject.name, figure, _outcome(figure, fail_over))
            for subject in shared
            for figure in changes(before[subject.name], subject, machine, outside)
        ),
        broken=tuple(_broken(old, new)),
        notes=(*unlike, *_notes(old, new, machine)),
    )


def _names(report: Report) -> str:
    return ", ".join(subject.name for subject in report.subjects) or "none"


def _outcome(figure: Figure, limit: float) -> Outcome:
    change = figure.change
    if change is None:
        return "can't tell"
    if change.high < 0:
        return "better"
    if change.low > 0:
        return "regressed" if change.worse > limit else "worse"
    return "can't tell" if change.high > limit else "no difference"


def _broken(old: Report, new: Report) -> Iterator[str]:
    after = {subject.name: subject for subject in new.subjects}
    for subject in old.subjects:
        if subject.name not in after:
            yield f"{subject.name} is missing in the new result."
        elif after[subject.name].error is not None and subject.error is None:
            yield f"{subject.name} failed in the new result: {after[subject.name].error}"


def _notes(old: Report, new: Report, machine: MachineChange) -> Iterator[str]:
    before = {subject.name: subject for subject in old.subjects}
    for subject in new.subjects:
        if subject.name not in before:
            yield f"{subject.name} is in the new result alone."
            continue
        was = before[subject.name]
        lost = [name for name in was.stages if name not in subject.stages]
        if lost:
            yield f"{subject.name}: the new result lacks {', '.join(lost)}."
        if was.engine != subject.engine:
            yield f"{subject.name}: run by {was.engine}, now by {subject.engine}."
    for name, report in {"old": old, "new": new}.items():
        if report.noise is None:
            yield f"The {name} result doesn't say how steady the machine was."
        elif report.noise.verdict != "quiet":
            yield f"The machine was {report.noise.verdict} in the {name} run."
    if abs(machine.reference - 1) > TOLD_REFERENCE:
        yield (
            f"A fixed calculation took {machine.reference - 1:+.1%} in the new run: the machine "
            "itself was slower or faster, and the intervals of the times hold that."
        )
