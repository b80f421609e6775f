"""The measuring itself: sessions of fresh processes, in which the subjects take turns.

A session starts one process for each subject, loads it, draws the first picture and the warm-up,
and then goes round: in every round each subject draws one picture, in the order of the subjects in
one round and the other way about in the next. So a slow drift of the machine meets all alike, and
what a process brings with it (where its memory lies, say) varies between sessions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.bench.client import Worker, WorkerError
from benchmarks.bench.energy import Meter
from benchmarks.bench.entry import Entry
from benchmarks.bench.memory import MemorySampler
from benchmarks.bench.process_tree import SamplerError
from benchmarks.bench.protocol import Ask, Opened
from benchmarks.bench.results import FIRST_CALL, LOAD, PICTURE, Memory, Plan
from runtimes.errors import LatedgeError

T = TypeVar("T")
Tell = Callable[[str], None]
Samples = dict[str, list[list[float]]]
"""Milliseconds by stage and session."""


@dataclass
class Measured:
    """What the sessions found of one subject.

    Attributes:
        entry: the subject.
        opened: what it said of itself; None before it was loaded.
        samples: of all sessions.
        memory: of the session with the highest peak.
        joules: of each picture, where there is a meter.
        seconds: of each picture whose joules are known.
        notes: what the figures don't hold, and why.
        error: what ended it, in one line.
    """

    entry: Entry
    opened: Opened | None = None
    samples: Samples = field(default_factory=lambda: defaultdict(list))
    memory: Memory | None = None
    joules: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Watch:
    """What is told while the sessions run.

    Attributes:
        tell: what is being done, a line.
        tick: called between rounds, with the pids of the running workers' trees.
        meter: of energy, where the machine has one.
        device_bytes: memory in use on GPUs by processes, by their pids.
    """

    tell: Tell
    tick: Callable[[set[int]], None]
    meter: Meter | None = None
    device_bytes: Callable[[set[int]], int | None] | None = None


def run_sessions(entries: Sequence[Entry], plan: Plan, ask: Ask, watch: Watch) -> list[Measured]:
    """Measures all subjects.

    Args:
        entries: the subjects.
        plan: sessions and rounds; without `interleaved`, one subject after the other.
        ask: the picture that each draws.
        watch: progress, noise and energy.

    Returns:
        One for each subject, in their order. One that failed has its error and what was measured
        until then.
    """
    measured = [Measured(entry) for entry in entries]
    for number in range(plan.sessions):
        alive = [each for each in rotated(measured, number) if each.error is None]
        for group in [alive] if plan.interleaved else [[each] for each in alive]:
            _Session(number, plan, ask, watch).run(group)
    return measured


def rotated(subjects: Sequence[T], number: int) -> Sequence[T]:
    """The order in which a session loads its subjects: each comes first as often as the others.

    In trials that always loaded one subject second, it took 3 % longer than the same bundle first
    or third.
    """
    first = number % len(subjects) if subjects else 0
    return [*subjects[first:], *subjects[:first]]


@dataclass
class _Running:
    """A subject and its process."""

    measured: Measured
    worker: Worker
    sampler: MemorySampler


@dataclass(frozen=True)
class _Session:
    number: int
    plan: Plan
    ask: Ask
    watch: Watch

    def run(self, subjects: Sequence[Measured]) -> None:
        """One session of subjects that take turns."""
        with ExitStack() as stack:
            started = (self._start(each, stack) for each in subjects)
            running = [one for one in started if one is not None]
            if all(one.measured.error is not None for one in running):
                return
            for one in running:
                _guarded(one, self._warm_up)
            for turn in range(self.plan.rounds):
                self._tick(running)
                self._tell(f"round {turn + 1} of {self.plan.rounds}")
                for one in running if turn % 2 == 0 else reversed(running):
                    _guarded(one, self._draw)
            self._tick(running)
            for one in running:
                _keep_memory(one.measured, one.sampler)

    def _tell(self, what: str) -> None:
        self.watch.tell(f"session {self.number + 1} of {self.plan.sessions}: {what}")

    def _tick(self, running: Sequence[_Running]) -> None:
        # Those that failed too: what they took until then isn't others' work.
        self.watch.tick({pid for one in running for pid in one.sampler.pids()})

    def _start(self, measured: Measured, stack: ExitStack) -> _Running | None:
        self._tell(f"loading {measured.entry.name}")
        try:
            worker = stack.enter_context(Worker(measured.entry.program))
            sampler = sampler_of(worker, self.watch.device_bytes)
        except WorkerError as e:
            measured.error = str(e)
            return None
        running = _Running(measured, worker, sampler)
        running.sampler.start()
        running.sampler.mark(LOAD)
        _guarded(running, self._load)
        return running

    def _load(self, one: _Running) -> None:
        one.measured.opened = one.worker.open()
        self._keep(one, {LOAD: [one.measured.opened.load_ms]})

    def _warm_up(self, one: _Running) -> None:
        self._tell(f"first call of {one.measured.entry.name}")
        one.sampler.mark(FIRST_CALL)
        first = one.worker.draw(self.ask)
        self._keep(one, {FIRST_CALL: first.stages[PICTURE]})
        one.sampler.mark(PICTURE)
        for _ in range(self.plan.warmup - 1):
            one.worker.draw(self.ask)

    def _draw(self, one: _Running) -> None:
        meter = self.watch.meter
        before = meter.joules() if meter else None
        drawn = one.worker.draw(self.ask)
        after = meter.joules() if meter else None
        self._keep(one, drawn.stages)
        if before is not None and after is not None:
            one.measured.joules.append(after - before)
            one.measured.seconds.append(sum(drawn.stages[PICTURE]) / 1000)

    def _keep(self, one: _Running, found: dict[str, list[float]]) -> None:
        for stage, values in found.items():
            sessions = one.measured.samples[stage]
            while len(sessions) <= self.number:
                sessions.append([])
            sessions[self.number].extend(values)


def sampler_of(
    worker: Worker, device_bytes: Callable[[set[int]], int | None] | None = None
) -> MemorySampler:
    """A sampler of a worker's memory, not yet started.

    Raises:
        WorkerError: the process has ended; says how.
    """
    try:
        return MemorySampler(worker.pid, device_bytes=device_bytes)
    except SamplerError as e:
        raise WorkerError(worker.ended() or str(e)) from e


def _guarded(running: _Running, work: Callable[[_Running], None]) -> None:
    """Does a part of a session; a failure is the row's, and no more is asked of it."""
    if running.measured.error is not None:
        return
    try:
        work(running)
    except WorkerError as e:
        running.measured.error = str(e)


def _keep_memory(measured: Measured, sampler: MemorySampler) -> None:
    try:
        found = sampler.stop()
    except LatedgeError as e:
        measured.notes = (str(e),)
        return
    if measured.memory is None or found.peak_rss > measured.memory.peak_rss:
        measured.memory, measured.notes = found, sampler.notes
