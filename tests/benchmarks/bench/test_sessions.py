from __future__ import annotations

from typing import Literal, NoReturn

import pytest

from benchmarks.bench import sessions
from benchmarks.bench.client import Worker
from benchmarks.bench.entry import Entry
from benchmarks.bench.process_tree import SamplerError
from benchmarks.bench.results import Plan
from benchmarks.bench.sessions import Measured, Watch, rotated, run_sessions
from tests.benchmarks.bench.fakes import ASK, fake_entry

PLAN = Plan(sessions=2, rounds=3, warmup=2)


class Ledger:
    """What is told and ticked."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ticks: list[int] = []

    def watch(self, meter: FakeMeter | None = None) -> Watch:
        return Watch(
            tell=self.told.append, tick=lambda pids: self.ticks.append(len(pids)), meter=meter
        )


class FakeMeter:
    """One joule more at every look."""

    source: Literal["rapl", "battery"] = "rapl"

    def __init__(self) -> None:
        self.looks = 0

    def joules(self) -> float:
        self.looks += 1
        return float(self.looks)


def run(*entries: Entry, plan: Plan = PLAN, ledger: Ledger | None = None) -> list[Measured]:
    return run_sessions(entries, plan, ASK, (ledger or Ledger()).watch())


def test_samples_are_kept_by_session_in_the_order_they_were_taken() -> None:
    (one,) = run(fake_entry(ms=2))
    assert one.error is None
    assert one.samples["unet_call"] == [[2.0] * 9] * 2  # 3 rounds of 3 steps
    # The fake adds 1 a picture: the first call, one more of warm-up, then three rounds.
    assert one.samples["first_call"] == [[21.0]] * 2
    assert one.samples["picture"] == [[23.0, 24.0, 25.0]] * 2
    assert [len(each) for each in one.samples["load"]] == [1, 1]
    assert one.opened is not None
    assert one.opened.engine == "fake 1.0"


def test_memory_is_told_by_stage() -> None:
    (one,) = run(fake_entry())
    assert one.memory is not None
    assert set(one.memory.by_stage) == {"load", "first_call", "picture"}
    assert one.memory.peak_rss >= max(one.memory.by_stage.values()) > 1e6


def test_subjects_take_turns_and_the_order_turns_about() -> None:
    ledger = Ledger()
    first, second = run(fake_entry("a"), fake_entry("b"), ledger=ledger)
    assert first.samples.keys() == second.samples.keys()
    # Both processes live at once, and noise is looked at before, between and after the rounds.
    assert ledger.ticks == [2] * 8
    assert [line for line in ledger.told if "session 1 of 2: loading" in line] == [
        "session 1 of 2: loading a",
        "session 1 of 2: loading b",
    ]
    assert [line for line in ledger.told if "session 2 of 2: loading" in line] == [
        "session 2 of 2: loading b",
        "session 2 of 2: loading a",
    ]


def test_every_subject_loads_first_as_often_as_the_others() -> None:
    assert [rotated("abc", number)[0] for number in range(6)] == ["a", "b", "c"] * 2
    assert rotated("abc", 4) == ["b", "c", "a"]
    assert list(rotated((), 3)) == []


def test_sequential_subjects_are_never_loaded_together() -> None:
    ledger = Ledger()
    plan = Plan(sessions=2, rounds=1, warmup=1, interleaved=False)
    found = run(fake_entry("a"), fake_entry("b"), plan=plan, ledger=ledger)
    assert ledger.ticks == [1] * 8
    assert [len(each.samples["picture"]) for each in found] == [2, 2]


def test_a_crash_is_the_rows_and_the_rest_goes_on() -> None:
    # Of the second session nothing is asked: draws 1 to 5 are the first session's.
    broken, whole = run(fake_entry("broken", die=4), fake_entry("whole"))
    assert broken.error is not None
    assert "ended by SIGKILL" in broken.error
    assert broken.samples["picture"] == [[13.0]]
    assert broken.samples["load"] == [broken.samples["load"][0]]
    assert whole.error is None
    assert whole.samples["picture"] == [[13.0, 14.0, 15.0]] * 2


def test_a_subject_that_cannot_be_loaded_is_a_row_too() -> None:
    refused, whole = run(fake_entry("refused", refuse="no such thing"), fake_entry("whole"))
    assert refused.error == "ValueError: no such thing"
    assert refused.samples["picture"] == []
    assert len(whole.samples["picture"]) == 2


def test_a_process_that_ends_at_once_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(worker: Worker) -> str:
        return f"process {worker.pid} ended"

    def absent(pid: int, **_: object) -> NoReturn:
        raise SamplerError("there is no such process")

    monkeypatch.setattr(sessions, "MemorySampler", absent)
    monkeypatch.setattr(Worker, "ended", ended)
    ledger = Ledger()
    (one,) = run(fake_entry(), ledger=ledger)
    assert one.error is not None
    assert one.error.endswith("ended")
    assert ledger.ticks == []  # nobody is left to take a turn


def test_energy_is_that_of_the_measured_pictures_alone() -> None:
    meter = FakeMeter()
    (one,) = run_sessions([fake_entry()], PLAN, ASK, Ledger().watch(meter))
    assert one.joules == [1.0] * 6
    assert meter.looks == 12
    assert one.seconds == [each / 1000 for each in (13.0, 14.0, 15.0)] * 2
