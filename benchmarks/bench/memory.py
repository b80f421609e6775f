"""Memory of a process tree while it works, from a thread of the process that started it.

How a peak is composed. Linux keeps each process's largest resident set itself (VmHWM), so no peak
of one process is missed however short; it is set back where a stage begins. A tree of one process
has exactly that peak. In a larger tree the peaks of its processes need not have coincided: what is
given is the sum of the marks of those that lived at once, which is never less than the tree's true
peak, and where it is more than 1 % above the largest sum that was seen at once, a note gives both.
Samples draw the timeline, and are all there is where the system keeps no mark (macOS).

What remains unknown: a process that begins and ends between two samples, and what one that ends
gained after its last sample.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from benchmarks.bench.process_tree import ProcessTree, SamplerError, open_tree
from benchmarks.bench.results import LOAD, Memory
from benchmarks.bench.stage_peak import StagePeak
from benchmarks.bench.timeline import Timeline

INTERVAL_S = 0.05
"""Between two samples. One costs 20 µs when the caches are warm and 200 on a machine that others
use: 0.4 % of one core. Peaks of known processes need none, since the kernel keeps them; a child
that lives for 100 ms is found."""

PSS_SHARE = 0.002
"""Most of the time that readings of the proportional set size may take while a stage runs: the
kernel walks all page tables for one, which takes 17 ms a GiB where pages are small."""
PSS_GROWTH = 1.02
"""PSS is read again once this much more is resident than at the last reading."""

DEVICE_INTERVAL_S = 0.1
NOTED = 1.01
"""A peak is explained when it is this much above what was seen."""


class MemorySampler:
    """Samples a process and all its descendants from `start` to `stop`.

    Args:
        pid: the first process of the tree, which runs already.
        interval_s: between two samples.
        tree: the processes; None opens those of `pid` by this system's means.
        device_bytes: memory in use on GPUs by the processes of these numbers, or None where it
            isn't told; read ten times a second.

    Raises:
        SamplerError: there is no such process, or it has ended.
    """

    def __init__(
        self,
        pid: int,
        interval_s: float = INTERVAL_S,
        *,
        tree: ProcessTree | None = None,
        device_bytes: Callable[[set[int]], int | None] | None = None,
    ) -> None:
        self._tree = tree or open_tree(pid)
        self._interval_s = interval_s
        self._device_bytes = device_bytes
        self._lock = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._timeline = Timeline(interval_s * 1e3)
        self._stage: str | None = None
        self._peak = StagePeak([])
        self._bounds: dict[str | None, int] = {}
        self._seen: dict[str | None, int] = {}
        self._marks: dict[str, float] = {}
        self._loaded_rss: int | None = None
        self._pss = self._pss_at = 0
        self._pss_seconds = self._pss_cost = 0.0
        self._device_peak: int | None = None
        self._next_device = 0.0
        self._samples = 0
        self._failure: Exception | None = None
        self._ended = False
        self._notes: list[str] = []
        self._start_s = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """After `stop`: what is missing in the figures or to know about them, a line each."""
        return tuple(self._notes)

    @property
    def peak_since_mark(self) -> int:
        """Bytes that the tree had at most since the last `mark`, or since `start`."""
        with self._lock:
            self._sample()
            return self._peak.bound

    def pids(self) -> set[int]:
        """Numbers of the tree's processes, as of the last sample."""
        with self._lock:
            return self._tree.pids()

    def start(self) -> None:
        """Begins to sample."""
        self._start_s = time.perf_counter()
        with self._lock:
            self._begin(None)
        self._thread.start()

    def mark(self, stage: str) -> None:
        """Ends the stage that runs and begins another, such as "load"; a name may come again.

        On Linux each process's high-water mark is set back, which also alters what the process
        itself is told by `getrusage`.
        """
        with self._lock:
            self._end()
            self._begin(stage)

    def stop(self) -> Memory:
        """Ends sampling; the processes may have ended before.

        Raises:
            SamplerError: sampling broke off.
        """
        self._over = True
        self._thread.join()
        if self._failure is None:
            self._end_last()
        self._tree.close()
        if self._failure is not None:
            raise SamplerError(
                f"sampling of memory broke off after {self._samples} samples: {self._failure!r}."
            ) from self._failure
        self._explain()
        return Memory(
            peak_rss=max(self._bounds.values()),
            peak_pss=self._pss or None,
            loaded_rss=self._loaded_rss,
            by_stage={stage: bound for stage, bound in self._bounds.items() if stage is not None},
            device_peak=self._device_peak,
            interval_ms=self._elapsed_ms() / max(1, self._samples),
            timeline=self._timeline.points(),
            marks=dict(self._marks),
        )

    def _end_last(self) -> None:
        try:
            with self._lock:
                self._end()
        except Exception as e:  # told by `stop`, as the thread's
            self._failure = e

    def _run(self) -> None:
        try:
            while not self._over:
                time.sleep(self._interval_s)  # half the cost of waiting for an event
                with self._lock:
                    self._sample()
        except Exception as e:  # told by `stop`, not printed by the thread
            self._failure = e

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._start_s) * 1e3

    def _sample(self) -> int:
        readings = self._tree.readings()
        resident = sum(reading.rss for reading in readings)
        self._samples += 1
        if readings:
            self._timeline.add(self._elapsed_ms(), self._peak.take(readings))
            self._read_device()
            if resident > PSS_GROWTH * self._pss_at and self._may_read_pss():
                self._read_pss(resident)
        return resident

    def _begin(self, stage: str | None) -> None:
        whole = self._tree.reset_high_water()
        if stage is not None:
            self._marks.setdefault(stage, self._elapsed_ms())
            if not whole:
                self._note_once(
                    "the kernel's high-water marks can't be set back here: of a stage whose peak "
                    "is below an earlier one's, the largest sample is given"
                )
        self._stage = stage
        self._peak = StagePeak(self._tree.readings())

    def _end(self) -> None:
        resident = self._sample()
        if resident > self._pss_at or not self._pss:
            self._read_pss(resident)
        if self._stage == LOAD and resident:
            self._loaded_rss = resident
        self._ended = not resident
        stage, peak = self._stage, self._peak
        self._bounds[stage] = max(self._bounds.get(stage, 0), peak.bound)
        self._seen[stage] = max(self._seen.get(stage, 0), peak.seen)

    def _may_read_pss(self) -> bool:
        elapsed_s = time.perf_counter() - self._start_s
        return self._pss_seconds + self._pss_cost <= PSS_SHARE * elapsed_s

    def _read_pss(self, resident: int) -> None:
        began = time.perf_counter()
        found = self._tree.pss()
        self._pss_cost = time.perf_counter() - began
        self._pss_seconds += self._pss_cost
        if found is not None:
            self._pss, self._pss_at = max(self._pss, found), max(self._pss_at, resident)

    def _read_device(self) -> None:
        if self._device_bytes is None or time.perf_counter() < self._next_device:
            return
        self._next_device = time.perf_counter() + DEVICE_INTERVAL_S
        found = self._device_bytes(self._tree.pids())
        if found is not None:
            self._device_peak = max(found, self._device_peak or 0)

    def _explain(self) -> None:
        for stage, bound in self._bounds.items():
            if bound > NOTED * self._seen[stage]:
                self._notes.append(
                    f"peak memory{f' of {stage}' if stage else ''} is the sum of its processes' "
                    f"own peaks, {bound} bytes at most; {self._seen[stage]} were seen at once"
                )
        if self._ended:
            self._notes.append(
                "the process ended before sampling did: what it gained after the last sample isn't "
                "known"
            )
        if self._device_bytes is not None and self._device_peak is None:
            self._notes.append(
                "GPU memory: the driver lists none of these processes (they use no GPU, or a "
                "container has other numbers for them)"
            )
        peak = max(self._bounds.values())
        if not self._pss:
            self._notes.append("proportional set size: not told by this system, or no permission")
        elif peak > NOTED * self._pss_at:
            self._notes.append(
                f"peak_pss was read while at most {self._pss_at} bytes were resident, not at the "
                f"peak of {peak}"
            )

    def _note_once(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
