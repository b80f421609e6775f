"""Dynamic thresholding against diffusers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from runtimes.samplers.thresholding import Thresholding

SAMPLES = np.random.default_rng(3).standard_normal((3, 4, 9, 7), dtype=np.float32) * np.array(
    [0.2, 1.0, 4.0], np.float32
).reshape(3, 1, 1, 1)


@pytest.mark.parametrize("largest", [0.5, 1.0, 1.5, 100.0])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.995, 1.0])
def test_thresholding_equals_the_reference(ratio: float, largest: float) -> None:
    scheduler = DDIMScheduler(
        thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=largest
    )
    ours = Thresholding(ratio, largest)(SAMPLES)
    reference = scheduler._threshold_sample(  # pyright: ignore[reportPrivateUsage]
        torch.from_numpy(SAMPLES)
    ).numpy()
    # One unit in the last place of the bound.
    np.testing.assert_allclose(ours, reference, rtol=1.3e-7, atol=0, strict=True)


def test_samples_are_thresholded_apart_and_brought_into_one() -> None:
    kept = SAMPLES.copy()
    found = Thresholding(0.995, 100.0)(SAMPLES)
    # The first is small enough to be left alone, the last is far larger than 1.
    np.testing.assert_array_equal(found[0], SAMPLES[0])
    assert np.abs(found[2]).max() == 1
    assert np.quantile(np.abs(found[2]), 0.99) > 0.8
    np.testing.assert_array_equal(SAMPLES, kept)


def test_float64_stays_float64() -> None:
    samples = SAMPLES.astype(np.float64)
    found = Thresholding(0.9, 100.0)(samples)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, Thresholding(0.9, 100.0)(SAMPLES), rtol=1e-6)
