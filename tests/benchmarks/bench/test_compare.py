"""Two results side by side: verdicts, refusals, and the table."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.bench.compare import Comparison, Outcome, compare
from benchmarks.bench.comparison_table import as_table
from benchmarks.bench.results import LOAD, PICTURE, Report
from benchmarks.bench.statistics import stage
from runtimes.errors import UsageError
from tests.benchmarks.bench.reports import MACHINE, PLAN, SETTINGS, noise, report, subject


def outcomes(comparison: Comparison) -> dict[str, Outcome]:
    return {row.figure.name: row.outcome for row in comparison.rows}


def test_a_run_compared_with_itself_does_not_fail() -> None:
    found = compare(report(), report(), 0.05)
    assert set(outcomes(found).values()) == {"no difference"}
    assert not found.failed
    assert (found.broken, found.notes) == ((), ())


@pytest.mark.parametrize(
    ("picture_ms", "outcome"),
    [(112.0, "regressed"), (103.0, "worse"), (100.1, "no difference"), (90.0, "better")],
)
def test_a_time_is_judged_beyond_noise_and_limit(picture_ms: float, outcome: Outcome) -> None:
    found = compare(report(), report(subject(picture_ms=picture_ms)), 0.05)
    assert outcomes(found)[PICTURE] == outcome
    assert found.failed == (outcome == "regressed")


def test_a_regression_within_the_noise_is_not_told_and_not_denied() -> None:
    noisy = subject(picture_ms=112.0, levels=(0.7, 0.9, 1.1, 1.3))
    found = compare(report(), report(noisy), 0.05)
    assert outcomes(found)[PICTURE] == "can't tell"
    assert not found.failed
    assert "can't tell below +" in as_table(found)


def test_a_slower_machine_is_no_regression() -> None:
    slower = report(subject(picture_ms=112.0), noise=noise(reference_ms=11.3))
    found = compare(report(), slower, 0.05)
    assert outcomes(found)[PICTURE] == "can't tell"
    assert not found.failed
    assert any("A fixed calculation took +13.0% in the new run" in note for note in found.notes)


def test_one_session_tells_nothing() -> None:
    single = report(subject(levels=(1.0,), picture_ms=200.0))
    found = compare(report(), single, 0.05)
    assert outcomes(found)[PICTURE] == "can't tell"
    assert "can't tell: under two sessions" in as_table(found)


def test_a_larger_file_fails_and_a_smaller_one_does_not() -> None:
    assert compare(report(), report(subject(size_bytes=1100)), 0.05).failed
    assert not compare(report(), report(subject(size_bytes=900)), 0.05).failed
    assert not compare(report(), report(subject(size_bytes=1040)), 0.05).failed


def test_a_limit_of_nothing_fails_on_whatever_is_beyond_the_noise() -> None:
    found = compare(report(), report(subject(picture_ms=103.0, size_bytes=1001)), 0.0)
    assert outcomes(found)[PICTURE] == outcomes(found)["size_bytes"] == "regressed"


def test_a_subject_that_is_gone_fails() -> None:
    old = report(subject("a"), subject("b"))
    found = compare(old, report(subject("a")), 0.05)
    assert found.broken == ("b is missing in the new result.",)
    assert found.failed
    assert "b is missing in the new result." in as_table(found)


def test_a_subject_that_broke_fails_unless_it_was_broken_before() -> None:
    broken = report(subject(error="out of memory"))
    found = compare(report(), broken, 0.05)
    assert found.broken == ("a failed in the new result: out of memory",)
    assert found.failed
    assert not compare(broken, broken, 0.05).failed


def test_what_else_changed_is_noted() -> None:
    old = report(subject(stages={**subject().stages, LOAD: stage([[1.0], [1.0]])}))
    new = report(subject(engine="onnxruntime 2"), subject("b"), noise=None)
    assert compare(old, new, 0.05).notes == (
        "a: the new result lacks load.",
        "a: run by onnxruntime 1, now by onnxruntime 2.",
        "b is in the new result alone.",
        "The new result doesn't say how steady the machine was.",
    )


def test_a_noisy_run_is_noted() -> None:
    found = compare(report(noise=noise(verdict="noisy")), report(), 0.05)
    assert found.notes == ("The machine was noisy in the old run.",)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            report(machine=replace(MACHINE, processor="Q")),
            "machine: processor 'P' and 'Q'",
        ),
        (report(machine=replace(MACHINE, cores=4)), "machine: cores 2 and 4"),
        (
            report(machine=replace(MACHINE, system="Linux 6.1 aarch64")),
            "machine: system 'Linux x86_64' and 'Linux aarch64'",
        ),
        (
            report(machine=replace(MACHINE, memory_bytes=16_000_000_000)),
            "machine: memory_bytes 8000000000 and 16000000000",
        ),
        (
            report(machine=replace(MACHINE, devices=("GPU",))),
            r"machine: devices \[\] and \['GPU'\]",
        ),
        (report(plan=replace(PLAN, warmup=1)), "plan: warmup 2 and 1"),
        (report(plan=replace(PLAN, interleaved=False)), "plan: interleaved True and False"),
        (report(subject(model_sha256="n")), "a: model_sha256 'm' and 'n'"),
        (report(subject(threads=None)), "a: threads 1 and None"),
        (report(subject(device="gpu")), "a: device 'cpu' and 'gpu'"),
        (report(subject(program="diffusers")), "a: program 'latedge' and 'diffusers'"),
        (
            report(subject(settings=replace(SETTINGS, num_inference_steps=9))),
            "a: num_inference_steps 5 and 9",
        ),
    ],
)
def test_unlike_runs_are_refused_unless_asked_for(new: Report, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^the two results can't be compared: {message}\. .*"):
        compare(report(), new, 0.05)
    found = compare(report(), new, 0.05, different=True)
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "unknown",
    [
        {"machine": replace(MACHINE, governor="powersave", power="mains")},
        {"machine": replace(MACHINE, system="Linux 6.2 x86_64", memory_bytes=8_100_000_000)},
        {"plan": replace(PLAN, sessions=9, rounds=7)},
    ],
)
def test_what_one_run_does_not_know_or_may_change_is_no_difference(unknown: dict[str, Any]) -> None:
    assert compare(report(), report(**unknown), 0.05).notes == ()


def test_power_and_governor_count_where_both_are_known() -> None:
    mains, battery = (replace(MACHINE, power=power) for power in ("mains", "battery"))
    with pytest.raises(UsageError, match="machine: power 'mains' and 'battery'"):
        compare(report(machine=mains), report(machine=battery), 0.05)


def test_runs_without_a_common_subject_are_refused() -> None:
    with pytest.raises(UsageError, match=r"share no subject.* the old one has a, the new one b"):
        compare(report(), report(subject("b")), 0.05)


def test_more_subjects_make_wider_intervals() -> None:
    def high(names: str) -> float:
        runs = report(*(subject(name) for name in names))
        change = compare(runs, runs, 0.05).rows[0].figure.change
        assert change is not None
        return change.high

    assert high("abc") > high("a")


def test_the_table_has_what_regressed_on_top() -> None:
    old = report(subject("a"), subject("b"))
    new = report(subject("a", size_bytes=900), subject("b", picture_ms=120.0, size_bytes=1030))
    lines = as_table(compare(old, new, 0.05)).splitlines()
    assert lines[0] == "2 figures are worse by more than 5 %, beyond the noise."
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert table[0] == ["subject", "figure", "old", "new", "change", "interval", "verdict"]
    assert [row[-1] for row in table[2:5]] == ["regressed", "regressed", "worse"]
    assert table[2][:5] == ["b", "unet_call", "100 ms", "120 ms", "+20.0%"]
    assert ["a", "size_bytes", "0.0 MB", "0.0 MB", "-10.0%", "exact", "better"] in table
    assert len({len(line) for line in lines if "|" in line}) == 1


def test_the_table_of_a_sound_run_says_so() -> None:
    text = as_table(compare(report(), report(), 0.025))
    assert text.startswith("No figure is worse by more than 2.5 %, beyond the noise.\n")
    assert "\n- " not in text


def test_what_two_sessions_leave_open_is_told_as_a_factor() -> None:
    wide = subject(levels=(0.1, 10.0))
    text = as_table(compare(report(wide), report(wide), 0.05))
    assert "can't tell below ×1000" in text


def test_a_name_does_not_break_the_table() -> None:
    odd = report(subject("a|b"))
    assert "| a\\|b " in as_table(compare(odd, odd, 0.05))
