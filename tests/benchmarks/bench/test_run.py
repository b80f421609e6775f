"""A whole run over fake subjects: what ends up in the report."""

from __future__ import annotations

from typing import NoReturn

import pytest

from benchmarks.bench import extras, rows
from benchmarks.bench.cgroup import Limits
from benchmarks.bench.entry import Entry
from benchmarks.bench.results import Peaks, Plan, Report, Settings, encode, read
from benchmarks.bench.rows import Options
from benchmarks.bench.run import Run, best
from runtimes.errors import LatedgeError, UsageError
from tests.benchmarks.bench.fakes import fake_entry

SETTINGS = Settings(
    prompt="x",
    negative_prompt="",
    num_inference_steps=2,
    guidance_scale=2.0,
    sampler="ddim",
    seed=0,
    height=64,
    width=64,
)


def run(*entries: Entry, plan: Plan | None = None, **options: object) -> Report:
    plan = plan or Plan(sessions=2, rounds=2, warmup=1)
    chosen = Options(plan=plan, **{"limits": False, **options})  # pyright: ignore[reportArgumentType]
    return Run(entries, SETTINGS, chosen, None, "latedge bench x", lambda line: None).report()


def test_a_report_holds_every_subject_and_its_ratio_to_the_first() -> None:
    report = run(fake_entry("a", ms=2), fake_entry("b", ms=4))
    first, second = report.subjects
    assert (first.name, first.program, first.engine) == ("a", "fake", "fake 1.0")
    assert second.stages["unet_call"].summary.p50 == 4.0
    assert second.stages["unet_call"].summary.n == 8
    assert len(second.stages["cold_load"].sessions) == 2
    assert second.memory is not None
    (ratio,) = [each for each in report.ratios if each.stage == "unet_call"]
    assert (ratio.subject, ratio.baseline) == ("b", "a")
    assert ratio.estimate == pytest.approx(2.0)  # pyright: ignore[reportUnknownMemberType]
    assert ratio.verdict == "slower"
    assert report.noise is not None
    assert report.noise.reference.n == 8  # at the start, around two rounds twice, at the end
    assert report.peaks is None
    assert report.machine.cores >= 1


def test_a_report_is_read_as_it_was_written(tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    report = run(fake_entry("a"), batches=(2,), sizes=((64, 128),))
    (tmp_path / "x.json").write_bytes(encode(report))
    assert read(tmp_path / "x.json") == report


def test_batches_and_sizes() -> None:
    entry = fake_entry("a", ms=100, too_large=128)
    (row,) = run(entry, batches=(1, 4), sizes=((64, 192), (128, 128)), cold=False).subjects
    one, four = row.batches
    # The fake takes 1000 ms a picture of a batch, and one more a call: the median of calls 2 to 4.
    assert one.batch_ms == pytest.approx(1003)  # pyright: ignore[reportUnknownMemberType]
    assert four.pictures_per_s == pytest.approx(4 / 4.003)  # pyright: ignore[reportUnknownMemberType]
    wide, large = row.resolutions
    assert (wide.height, wide.width) == (64, 192)
    assert wide.unet_call_ms == pytest.approx(300)  # pyright: ignore[reportUnknownMemberType]
    assert wide.peak_rss is not None
    assert large.error == "ValueError: 128 is too large"
    assert row.error is None  # a size that a subject can't draw is no crash
    assert "cold_load" not in row.stages


def test_a_subject_that_crashes_leaves_the_others_whole() -> None:
    report = run(fake_entry("a"), fake_entry("b", die=2), fake_entry("c", refuse="not here"))
    first, second, third = report.subjects
    assert first.error is None
    assert second.error is not None
    assert "SIGKILL" in second.error
    assert second.stages["first_call"].summary.n == 1
    assert third.error == "ValueError: not here"
    assert third.stages == {}
    # A failure leaves no pair here; where it is the first one's, the others are told.
    assert report.ratios == ()
    assert not any("no ratios" in note for row in report.subjects for note in row.notes)
    second, first = run(fake_entry("b", die=2), fake_entry("a")).subjects
    assert second.error is not None
    assert "no ratios: b, by which they are taken, failed" in first.notes


def test_what_fails_after_the_sessions_leaves_the_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: Entry, cache: object) -> NoReturn:
        raise LatedgeError("the disk is gone")

    monkeypatch.setattr(rows, "cold_load", fail)
    report = run(fake_entry("a"), fake_entry("b"))
    assert [row.error for row in report.subjects] == ["the disk is gone"] * 2
    assert {ratio.stage for ratio in report.ratios} >= {"unet_call", "picture"}


def test_a_file_that_vanishes_costs_the_cold_load_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(paths: object) -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory", "/cache/x")

    monkeypatch.setattr(extras, "drop", vanish)
    (row,) = run(fake_entry("a")).subjects
    assert row.error is None
    assert "cold_load" not in row.stages
    assert "no cold load: /cache/x: No such file or directory" in row.notes


def test_a_stage_below_its_clock_is_left_out_with_a_note() -> None:
    (row,) = run(fake_entry("a", no_time="text_encoder"), cold=False).subjects
    assert row.error is None
    assert "text_encoder" not in row.stages
    assert "picture" in row.stages
    assert "no text_encoder: it takes less than the clock that told it can tell" in row.notes


def test_subjects_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Memory:
        available = 1_000_000
        total = 2_000_000_000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(UsageError, match=r"needs a 0\.0 GB where 0\.0 GB are free.*--sequential"):
        run(fake_entry("a"))
    sequential = Plan(sessions=1, rounds=1, warmup=1, interleaved=False)
    assert run(fake_entry("a"), plan=sequential).subjects[0].error is None


def test_a_containers_limit_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.bench.run.read_limits", lambda: Limits(None, 2_000_000))
    with pytest.raises(UsageError, match=r"0\.0 GB are free"):
        run(fake_entry("a"))


def test_peaks_are_the_best_of_before_and_after() -> None:
    found = best(None, Peaks(flops_per_s=2, bytes_per_s=3, threads=1))
    assert found == Peaks(flops_per_s=2, bytes_per_s=3, threads=1)
    both = best(found, Peaks(flops_per_s=1, bytes_per_s=5, threads=1))
    assert both == Peaks(flops_per_s=2, bytes_per_s=5, threads=1)
    assert best(None, None) is None


def test_a_gpu_is_not_held_against_the_processors_peaks() -> None:
    report = run(fake_entry("a"), device="cuda:0", limits=True, cold=False)
    assert report.peaks is None
    told = "no roofline: the peaks are the processor's, and the device is cuda:0"
    assert told in report.subjects[0].notes
