"""Peaks by stage: composed of samples and of the kernel's marks, on made trees and on real ones."""

from __future__ import annotations

import sys
import time

import pytest

from benchmarks.bench.memory import MemorySampler
from benchmarks.bench.process_tree import Reading, SamplerError
from benchmarks.known_memory import MB, Program

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own marks")


class MadeTree:
    """A tree whose readings the test sets."""

    def __init__(self, *readings: Reading, resets: bool = True, pss: int | None = None) -> None:
        self.now = list(readings)
        self.resets = resets
        self.pss_now = pss
        self.fails = False
        self.closed = False

    def readings(self) -> list[Reading]:
        if self.fails:
            raise RuntimeError("broken")
        return list(self.now)

    def reset_high_water(self) -> bool:
        if self.resets:
            self.now = [r._replace(high_water=r.rss) for r in self.now]
        return self.resets

    def pss(self) -> int | None:
        return self.pss_now

    def pids(self) -> set[int]:
        return {r.pid for r in self.now}

    def close(self) -> None:
        self.closed = True


def sampler(tree: MadeTree, interval_s: float = 0.002) -> MemorySampler:
    made = MemorySampler(1, interval_s, tree=tree)
    made.start()
    return made


def test_stages_have_their_own_peaks_and_a_name_that_comes_again_keeps_the_largest() -> None:
    tree = MadeTree(Reading(1, 10, 10), pss=7)
    made = sampler(tree)
    for stage, rss, high in (("load", 20, 90), ("first_call", 15, 60), ("load", 20, 50)):
        made.mark(stage)
        tree.now = [Reading(1, rss, high)]
        assert made.peak_since_mark == high
    memory = made.stop()
    assert memory.by_stage == {"load": 90, "first_call": 60}
    assert memory.peak_rss == 90
    assert memory.loaded_rss == 20
    assert memory.peak_pss == 7
    assert list(memory.marks) == ["load", "first_call"]
    assert memory.marks["load"] <= memory.marks["first_call"]
    assert max(p.rss_bytes for p in memory.timeline) == 90
    assert tree.closed


def test_notes_tell_a_sum_of_peaks_that_was_not_seen() -> None:
    tree = MadeTree(Reading(1, 10, 10), Reading(2, 10, 10), pss=20)
    made = sampler(tree)
    made.mark("picture")
    tree.now = [Reading(1, 10, 500), Reading(2, 10, 600)]
    assert made.peak_since_mark == 1100
    memory = made.stop()
    assert memory.peak_rss == 1100
    (note, pss) = made.notes
    assert "of picture is the sum of its processes' own peaks, 1100 bytes at most" in note
    assert "600 were seen at once" in note
    assert "peak_pss was read while at most 20 bytes were resident" in pss


def test_notes_tell_marks_that_stay_and_a_size_that_is_not_told() -> None:
    made = sampler(MadeTree(Reading(1, 10, 10), resets=False))
    made.mark("load")
    made.mark("picture")
    assert made.stop().peak_pss is None
    marks, pss = made.notes
    assert "can't be set back here" in marks
    assert "proportional set size: not told by this system" in pss


def test_end_of_the_process_is_told_and_is_no_figure() -> None:
    tree = MadeTree(Reading(1, 10, 80), pss=10)
    made = sampler(tree)
    made.mark("load")
    tree.now = []
    memory = made.stop()
    assert memory.loaded_rss is None
    assert memory.by_stage == {"load": 10}
    assert any("ended before sampling did" in note for note in made.notes)


def test_broken_sampling_is_an_error_and_no_figure() -> None:
    tree = MadeTree(Reading(1, 10, 10))
    made = sampler(tree)
    tree.fails = True
    deadline = time.monotonic() + 20
    while made._failure is None and time.monotonic() < deadline:  # pyright: ignore[reportPrivateUsage]
        time.sleep(0.001)
    with pytest.raises(
        SamplerError, match=r"broke off after \d+ samples: RuntimeError\('broken'\)"
    ):
        made.stop()
    assert tree.closed


def test_sampling_that_breaks_at_its_end_is_an_error() -> None:
    tree = MadeTree(Reading(1, 10, 10))
    made = sampler(tree, interval_s=0.2)
    tree.fails = True
    with pytest.raises(SamplerError, match="broke off after 0 samples"):
        made.stop()
    assert tree.closed


def test_device_memory_is_asked_for_the_trees_processes() -> None:
    tree = MadeTree(Reading(1, 10, 10), Reading(5, 10, 10))
    asked: list[set[int]] = []

    def used(pids: set[int]) -> int | None:
        asked.append(pids)
        return 4096 if len(asked) == 1 else None

    made = MemorySampler(1, 0.01, tree=tree, device_bytes=used)
    made.start()
    made.mark("load")
    assert made.pids() == {1, 5}
    assert made.stop().device_peak == 4096
    assert asked[0] == {1, 5}
    assert not any("GPU" in note for note in made.notes)


def test_device_that_lists_none_of_the_processes_is_told() -> None:
    made = MemorySampler(1, tree=MadeTree(Reading(1, 10, 10)), device_bytes=lambda _: None)
    made.start()
    made.mark("load")
    assert made.stop().device_peak is None
    assert any(note.startswith("GPU memory: the driver lists none") for note in made.notes)


@linux
def test_peaks_of_a_real_process_are_found_between_two_samples() -> None:
    """The interval is longer than the test, so only the kernel's marks can know."""
    with Program() as program:
        program.tell("spike", 8 * MB, 0)
        made = MemorySampler(program.pid, interval_s=0.2)
        made.start()
        made.mark("before")
        before = made.peak_since_mark
        for size in (48, 32, 16):
            made.mark(f"{size}")
            program.tell("spike", size * MB, 0)
        memory = made.stop()
    for size in (48, 32, 16):
        gained = memory.by_stage[f"{size}"] - before
        assert gained == pytest.approx(size * MB, rel=0.03)
    assert memory.peak_pss is not None
    assert memory.peak_pss <= memory.peak_rss
