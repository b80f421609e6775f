"""Figures beside times: bytes, likeness, accuracy."""

from __future__ import annotations

import pytest

from benchmarks.bench.between_runs import MachineChange
from benchmarks.bench.changes import INVISIBLE_DB, MEMORY_NOISE, Figure, changes
from benchmarks.bench.results import PICTURE, UNET_CALL, Memory, Proportion, Quality, Subject
from tests.benchmarks.bench.reports import subject


def figures(old: Subject, new: Subject) -> dict[str, Figure]:
    return {each.name: each for each in changes(old, new, MachineChange(), 0.05)}


def judged(**quality: object) -> Subject:
    return subject(quality=Quality(**quality))  # pyright: ignore[reportArgumentType]


def worse(old: Subject, new: Subject, name: str) -> tuple[float, float, float]:
    change = figures(old, new)[name].change
    assert change is not None
    return change.worse, change.low, change.high


def test_all_figures_of_both_are_there_in_order() -> None:
    assert list(figures(subject(), subject())) == [UNET_CALL, PICTURE, "peak_rss", "size_bytes"]


def test_times_show_the_medians() -> None:
    found = figures(subject(), subject(picture_ms=110.0))[PICTURE]
    # The middle of the four sessions: their levels are 0.999, 1, 1 and 1.001.
    assert (found.old, found.new) == pytest.approx((100.0, 110.0), rel=1e-6)
    assert found.unit == "ms"
    assert found.change is not None
    assert found.change.worse == pytest.approx(0.1, rel=1e-9)


def test_memory_has_its_own_noise_and_the_disk_none() -> None:
    memory = Memory(peak_rss=11_000, device_peak=50)
    old = subject(memory=Memory(peak_rss=10_000, device_peak=100))
    new = subject(memory=memory, size_bytes=1001)
    assert worse(old, new, "peak_rss") == pytest.approx(
        (0.1, 0.1 - MEMORY_NOISE, 0.1 + MEMORY_NOISE)
    )
    assert worse(old, new, "device_peak")[0] == pytest.approx(-0.5)
    assert worse(old, new, "size_bytes") == pytest.approx((0.001, 0.001, 0.001))


def test_what_one_run_lacks_is_left_out() -> None:
    bare = subject(memory=None, size_bytes=None, stages={})
    assert figures(subject(), bare) == figures(bare, subject()) == {}


def test_psnr_is_told_as_growth_of_the_error() -> None:
    old, new = judged(reference="r", psnr_db=40.0), judged(reference="r", psnr_db=34.0)
    assert worse(old, new, "psnr_db") == pytest.approx([10**0.3 - 1] * 3)
    assert worse(new, old, "psnr_db")[0] == pytest.approx(10**-0.3 - 1)


@pytest.mark.parametrize("better", [{"psnr_db": 120.0}, {"equal": True}])
def test_what_nobody_can_see_counts_as_equal(better: dict[str, object]) -> None:
    old, new = judged(reference="r", **better), judged(reference="r", psnr_db=80.0)
    assert worse(old, new, "psnr_db")[0] == 0
    assert figures(old, new)["psnr_db"].old == INVISIBLE_DB


def test_invisible_is_the_rounding_to_eight_bits() -> None:
    import numpy as np

    values = np.random.default_rng(0).random(1_000_000)
    error = np.round(values * 255) / 255 - values
    assert -10 * np.log10(np.mean(error**2)) == pytest.approx(INVISIBLE_DB, abs=0.02)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"reference": "r", "psnr_db": 40.0}, {"reference": "other", "psnr_db": 30.0}),
        ({"psnr_db": 40.0}, {"psnr_db": 30.0}),
        ({"reference": "r", "psnr_db": 40.0}, {"reference": "r"}),
        ({"clip_model": "x", "clip_score": 30.0}, {"clip_model": "y", "clip_score": 20.0}),
    ],
)
def test_likeness_to_another_reference_is_not_compared(
    old: dict[str, object], new: dict[str, object]
) -> None:
    assert set(figures(judged(**old), judged(**new))).isdisjoint({"psnr_db", "clip_score"})


def test_clip_score_is_worse_by_what_it_lost() -> None:
    old, new = judged(clip_model="c", clip_score=30.0), judged(clip_model="c", clip_score=27.0)
    assert worse(old, new, "clip_score") == pytest.approx([0.1] * 3)


def test_accuracy_has_newcombes_interval() -> None:
    # Newcombe 1998, table II, method 10: 56/70 and 48/80 give 0.2 within 0.0524 and 0.3339.
    old = Proportion(estimate=0.8, low=0.69183, high=0.87697, n=70)
    new = Proportion(estimate=0.6, low=0.49049, high=0.70035, n=80)
    found = worse(judged(accuracy={"all": old}), judged(accuracy={"all": new}), "accuracy: all")
    assert [each * 0.8 for each in found] == pytest.approx([0.2, 0.0524, 0.3339], abs=2e-4)


def test_accuracy_of_a_class_that_one_lacks_is_left_out() -> None:
    half = Proportion(estimate=0.5, low=0.4, high=0.6, n=100)
    none = Proportion(estimate=0.0, low=0.0, high=0.1, n=100)
    found = figures(judged(accuracy={"a": half, "b": none}), judged(accuracy={"b": half}))
    assert set(found).isdisjoint({"accuracy: a", "accuracy: b"})
