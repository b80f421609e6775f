"""`latedge bench` without its command line: entries and options go in, a report comes out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from benchmarks.bench.cgroup import read_limits
from benchmarks.bench.device_memory import DeviceMemory, open_device_memory
from benchmarks.bench.energy import Meter, idle_watts, open_meter
from benchmarks.bench.entry import Entry, ask_of
from benchmarks.bench.extras import prepare
from benchmarks.bench.judge import Judge
from benchmarks.bench.machine import describe
from benchmarks.bench.noise import NoiseWatch
from benchmarks.bench.peaks import PeakError, measure_peaks
from benchmarks.bench.ratios import paired_ratios
from benchmarks.bench.results import Noise, Peaks, Ratio, Report, Settings, Subject
from benchmarks.bench.rows import Options, RowBuilder, bare_row
from benchmarks.bench.sessions import Measured, Watch, run_sessions
from runtimes.errors import LatedgeError, UsageError
from runtimes.version import VERSION

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A benchmark, ready to go.

    Attributes:
        entries: the subjects; the others are compared with the first.
        settings: of the picture that each draws.
        options: what is measured.
        judge: how pictures are judged; None doesn't.
        command: as the user typed it, for the report.
        tell: progress, a line at a time.
    """

    entries: Sequence[Entry]
    settings: Settings
    options: Options
    judge: Judge | None
    command: str
    tell: Tell

    def report(self) -> Report:
        """Measures everything.

        Returns:
            The report. A subject that failed is a row with its error, the rest is whole.

        Raises:
            UsageError: the subjects don't fit into memory together.
        """
        date = datetime.now(UTC).isoformat(timespec="seconds")
        before, failure = self._peaks()
        rows = self._prepare()
        able = [entry for entry in self.entries if entry.name not in rows]
        meter, no_meter = open_meter()
        idle = idle_watts(meter) if meter else None
        gpus, no_gpus = open_device_memory() if self.options.device != "cpu" else (None, None)
        measured, noise = self._sessions(able, meter, gpus)
        after, _ = self._peaks()
        peaks = best(before, after)
        notes = (None if peaks else failure, no_meter, no_gpus)
        whole = {each.entry.name for each in measured if each.error is None}
        first = self.entries[0].name if self.entries else ""
        for each in measured:
            builder = RowBuilder(self.settings, self.options, each, self.tell)
            builder.add_notes(notes)
            if first not in whole and each.entry.name in whole:
                builder.add_notes([f"no ratios: {first}, by which they are taken, failed"])
            builder.add_energy(meter, idle)
            rows[each.entry.name] = self._complete(builder, peaks)
        subjects = tuple(rows[entry.name] for entry in self.entries)
        return Report(
            date=date,
            command=self.command,
            version=VERSION,
            machine=describe(),
            plan=self.options.plan,
            subjects=subjects,
            ratios=all_ratios(subjects, whole),
            peaks=peaks,
            noise=noise,
            reference_pictures=self.judge.reference_pictures if self.judge else (),
        )

    def _sessions(
        self, able: Sequence[Entry], meter: Meter | None, gpus: DeviceMemory | None
    ) -> tuple[list[Measured], Noise]:
        """The measuring itself, and how steady the machine was meanwhile."""
        noise, workers = NoiseWatch(), set[int]()

        def tick(pids: set[int]) -> None:
            workers.clear()
            workers.update(pids)
            noise.tick()

        watch = Watch(self.tell, tick, meter, gpus.used_bytes if gpus else None)
        noise.start(lambda: workers)
        try:
            measured = run_sessions(able, self.options.plan, ask_of(self.settings), watch)
        finally:
            if gpus is not None:
                gpus.close()
        return measured, noise.finish()

    def _peaks(self) -> tuple[Peaks | None, str | None]:
        """The machine's peaks, or why there are none."""
        device = self.options.device
        if not self.options.limits:
            return None, None
        if device.lower().partition(":")[0] != "cpu":
            return None, f"no roofline: the peaks are the processor's, and the device is {device}"
        self.tell("measuring what the machine can do")
        try:
            return measure_peaks(self.options.threads), None
        except PeakError as e:
            return None, str(e)

    def _prepare(self) -> dict[str, Subject]:
        """Loads each subject once, untimed; gives the rows of those that can't be loaded."""
        failed: dict[str, Subject] = {}
        needed: dict[str, int] = {}
        for entry in self.entries:
            self.tell(f"preparing {entry.name}")
            try:
                needed[entry.name] = prepare(entry)
            except LatedgeError as e:
                failed[entry.name] = bare_row(entry, self.settings, error=str(e))
        # A container's limit may be far below what the machine has free.
        free = min(psutil.virtual_memory().available, read_limits().memory_bytes or sys.maxsize)
        if self.options.plan.interleaved and sum(needed.values()) > free:
            listed = ", ".join(f"{name} {each / 1e9:.1f} GB" for name, each in needed.items())
            raise UsageError(
                f"the subjects take turns and are loaded together, which needs {listed} where "
                f"{free / 1e9:.1f} GB are free. Measure fewer, or one after the other: --sequential"
            )
        return failed

    def _complete(self, builder: RowBuilder, peaks: Peaks | None) -> Subject:
        """The row of a subject, with all that is measured apart from the sessions."""
        if not builder.failed:
            builder.add_cold_loads()
            builder.add_batches()
            builder.add_sizes()
            builder.add_limits(peaks)
            builder.add_quality(self.judge)
        return builder.build()


def best(*found: Peaks | None) -> Peaks | None:
    """The highest rates: a busy moment can only hide what a machine can do."""
    there = [each for each in found if each is not None]
    if not there:
        return None
    return Peaks(
        flops_per_s=max(each.flops_per_s for each in there),
        bytes_per_s=max(each.bytes_per_s for each in there),
        threads=there[0].threads,
    )


def all_ratios(subjects: Sequence[Subject], whole: AbstractSet[str]) -> tuple[Ratio, ...]:
    """Each subject after the first by the first, stage by stage.

    Args:
        subjects: the rows.
        whole: names of those whose sessions all went well; the others have no ratios, and there
            are none at all where the first is not among them.
    """
    if not subjects or subjects[0].name not in whole:
        return ()
    first, *others = subjects
    return tuple(
        ratio
        for other in others
        if other.name in whole
        for ratio in paired_ratios(
            other.stages, first.stages, subject=other.name, baseline=first.name
        )
    )
