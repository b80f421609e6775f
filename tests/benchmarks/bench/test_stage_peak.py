"""A stage's peak from made readings: number, resident, high-water mark."""

from __future__ import annotations

from benchmarks.bench.process_tree import Reading
from benchmarks.bench.stage_peak import StagePeak


def test_mark_of_the_kernel_counts_where_samples_missed_the_peak() -> None:
    peak = StagePeak([Reading(1, 100, 100)])
    assert peak.take([Reading(1, 120, 500)]) == 500
    assert peak.take([Reading(1, 120, 500)]) == 120
    assert (peak.bound, peak.seen) == (500, 500)


def test_mark_of_an_earlier_stage_does_not_count() -> None:
    peak = StagePeak([Reading(1, 100, 900)])
    assert peak.take([Reading(1, 150, 900)]) == 150
    assert peak.bound == 150
    peak.take([Reading(1, 150, 950)])
    assert peak.bound == 950


def test_peaks_of_two_processes_are_added_and_told_apart_from_what_was_seen() -> None:
    peak = StagePeak([Reading(1, 100, 100)])
    peak.take([Reading(1, 100, 400), Reading(2, 50, 50)])
    peak.take([Reading(1, 100, 400), Reading(2, 50, 300)])
    assert peak.bound == 700
    assert peak.seen == 400


def test_processes_one_after_the_other_are_not_added() -> None:
    peak = StagePeak([Reading(1, 100, 100)])
    for pid in (2, 3, 4):
        peak.take([Reading(1, 100, 100), Reading(pid, 50, 70)])
        peak.take([Reading(1, 100, 100)])
    assert peak.bound == 170


def test_without_marks_samples_are_all_there_is() -> None:
    peak = StagePeak([Reading(1, 100, None)])
    assert peak.take([Reading(1, 300, None)]) == 300
    assert peak.take([Reading(1, 200, None)]) == 200
    assert peak.bound == peak.seen == 300
