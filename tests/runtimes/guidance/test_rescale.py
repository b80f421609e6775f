"""Guidance rescale against diffusers' own function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from runtimes.guidance import classifier_free, guide
from runtimes.guidance.rescale import rescale
from tests.runtimes.guidance.networks import COND, UNCOND, X, network

GUIDED, TOWARDS = 3 * X + 1, np.roll(X, 1, axis=-1)


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_rescale_is_that_of_diffusers(share: float) -> None:
    found = rescale(GUIDED, TOWARDS, share)
    expected = rescale_noise_cfg(torch.from_numpy(GUIDED), torch.from_numpy(TOWARDS), share)
    assert found.dtype == np.float32
    # Both round a few times to float32, on values up to 10.
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=3e-6)
    assert np.abs(found - GUIDED).max() > 0.5


def test_share_of_one_gives_the_deviation_of_the_conditional_output_sample_by_sample() -> None:
    found = rescale(GUIDED, TOWARDS * np.array([1, 5], np.float32)[:, None, None, None], 1.0)
    for sample, factor, towards in zip(found, (1, 5), TOWARDS, strict=True):
        assert sample.std(ddof=1) == pytest.approx(factor * towards.std(ddof=1), rel=1e-5)


def test_share_of_nothing_changes_no_bit() -> None:
    assert rescale(GUIDED, TOWARDS, 0.0) is GUIDED


@pytest.mark.parametrize("halves", ["together", "apart"])
def test_guided_outputs_are_rescaled(halves: str) -> None:
    guided = classifier_free(
        network,
        COND,
        UNCOND,
        7.5,
        halves=halves,  # pyright: ignore[reportArgumentType]
        guidance_rescale=0.7,
    )(X, 0.25)
    cond, uncond = network(X, 0.25, COND), network(X, 0.25, UNCOND)
    np.testing.assert_array_equal(guided, rescale(guide(uncond, cond, 7.5), cond, 0.7))
