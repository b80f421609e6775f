"""A subject's row, figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.bench.energy import Meter, summarize
from benchmarks.bench.entry import Entry, ask_of
from benchmarks.bench.extras import cold_load, measure_batches, measure_resolutions
from benchmarks.bench.judge import Judge
from benchmarks.bench.limits.apart import Request, limits_apart
from benchmarks.bench.results import COLD_LOAD, Peaks, Plan, Settings, Stage, Subject
from benchmarks.bench.sessions import Measured
from benchmarks.bench.statistics import stage
from runtimes.bundle import cache_folder
from runtimes.clean_exit import describe
from runtimes.errors import LatedgeError

Tell = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        plan: sessions and rounds.
        device: as the engines name it.
        threads: within an operation; None leaves it to the engines.
        batches: how many pictures at once, for throughput.
        sizes: (height, width) of the pictures whose cost is measured apart.
        limits: whether FLOPs, bytes and the machine's peaks are told.
        profile: whether the costliest nodes are told, too.
        cold: whether loads with an empty page cache are timed.
    """

    plan: Plan
    device: str = "cpu"
    threads: int | None = None
    batches: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    limits: bool = True
    profile: bool = True
    cold: bool = True


class RowBuilder:
    """Collects the figures of one subject."""

    def __init__(
        self, settings: Settings, options: Options, measured: Measured, tell: Tell
    ) -> None:
        self._settings, self._options = settings, options
        self._measured, self._entry, self._tell = measured, measured.entry, tell
        self._samples = {name: list(found) for name, found in measured.samples.items()}
        self._notes = [*measured.notes, *self._drop_too_short()]
        self._found: dict[str, object] = {}
        self._error = measured.error

    @property
    def failed(self) -> bool:
        """Whether the row has an error already."""
        return self._error is not None

    def build(self) -> Subject:
        """The row as it stands."""
        opened = self._measured.opened
        base = bare_row(self._entry, self._settings, error=self._error)
        told: dict[str, object] = {"notes": tuple(self._notes), "memory": self._measured.memory}
        if opened is not None:
            told |= {
                "engine": opened.engine,
                "device": opened.device,
                "precision": opened.precision,
                "threads": opened.threads,
            }
        return msgspec.structs.replace(base, stages=self._stages(), **told, **self._found)

    def _stages(self) -> dict[str, Stage]:
        return {name: stage(found) for name, found in self._samples.items() if any(found)}

    def _drop_too_short(self) -> Iterator[str]:
        """Leaves out stages that took no time by the clock which told them; notes."""
        for name, sessions in list(self._samples.items()):
            if any(sample <= 0 for session in sessions for sample in session):
                del self._samples[name]
                yield f"no {name}: it takes less than the clock that told it can tell"

    def add_cold_loads(self) -> None:
        """As many as there are sessions."""
        if not self._options.cold:
            return
        for _ in range(self._options.plan.sessions):
            self._tell(f"{self._entry.name}: loading with an empty page cache")
            found = self._guarded(lambda: cold_load(self._entry, cache_folder()))
            if isinstance(found, str):
                self._notes.append(found)
            if not isinstance(found, float):
                return
            self._samples.setdefault(COLD_LOAD, []).append([found])

    def add_batches(self) -> None:
        """Throughput by batch."""
        sizes, ask = self._options.batches, ask_of(self._settings)
        self._found["batches"] = tuple(measure_batches(self._entry, ask, sizes, self._tell))

    def add_sizes(self) -> None:
        """Cost by size of the picture."""
        sizes, ask = self._options.sizes, ask_of(self._settings)
        found = measure_resolutions(self._entry, ask, sizes, self._tell)
        self._found["resolutions"] = tuple(found)

    def add_limits(self, peaks: Peaks | None) -> None:
        """FLOPs, bytes, roofline and costliest nodes, of bundles alone."""
        bundle = self._entry.bundle
        if not self._options.limits or bundle is None:
            return
        self._tell(f"{self._entry.name}: counting operations")
        request = Request(
            bundle=str(bundle.path),
            settings=self._settings,
            stages=self._stages(),
            peaks=peaks,
            device=self._options.device,
            threads=self._options.threads,
            profile=self._options.profile,
        )
        found = self._guarded(lambda: limits_apart(request))
        self._found["limits"] = found or ()

    def add_quality(self, judge: Judge | None) -> None:
        """Pictures beside the reference's."""
        if judge is None:
            return
        self._tell(f"{self._entry.name}: drawing the pictures that are judged")
        self._found["quality"] = self._guarded(lambda: judge.judge(self._entry))

    def add_energy(self, meter: Meter | None, idle: float | None) -> None:
        """Joules of the measured pictures, where the machine tells."""
        joules, seconds = self._measured.joules, self._measured.seconds
        if meter is not None and not joules:
            self._notes.append(f"no energy: {meter.source} told none while pictures were made")
        elif meter is not None:
            found = summarize(meter, sum(joules), sum(seconds), len(joules), idle)
            self._found["energy"] = found

    def add_notes(self, notes: Iterable[str | None]) -> None:
        """What could not be had of the whole run; None for what could."""
        self._notes.extend(note for note in notes if note is not None)

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """A failure here is the row's error; what was measured before stays."""
        try:
            return work()
        except (LatedgeError, OSError) as e:
            self._error = self._error or describe(e)
            return None


def bare_row(entry: Entry, settings: Settings, *, error: str | None) -> Subject:
    """The row of a subject of which nothing is measured yet."""
    bundle = entry.bundle
    return Subject(
        name=entry.name,
        program=entry.label,
        path=str(entry.path),
        settings=settings,
        model_sha256=entry.model_sha256,
        bundle_sha256=None if bundle is None else bundle.sha256,
        size_bytes=_size_bytes(entry.files),
        error=error,
    )


def _size_bytes(files: Iterable[Path]) -> int | None:
    """None where one is gone: the row's error says more of it."""
    try:
        return sum(path.stat().st_size for path in files)
    except OSError:
        return None
