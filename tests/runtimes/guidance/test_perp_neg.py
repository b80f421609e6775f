"""Perp-Neg against its formula, written in float64 with an explicit projection."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from runtimes.denoiser import Latents
from runtimes.guidance.perp_neg import perp_guide, perp_neg, perpendicular
from tests.runtimes.guidance.networks import COND, EMPTY, UNCOND, Counted, X, network


def expected(empty: Latents, negative: Latents, cond: Latents, scale: float, w: float) -> Latents:
    rows: list[Latents] = []
    for e, n, c in zip(empty, negative, cond, strict=True):
        e64, n64, c64 = (each.astype(np.float64).ravel() for each in (e, n, c))
        towards, away = c64 - e64, n64 - e64
        unit = towards / np.linalg.norm(towards)
        rows.append((e64 + scale * (towards - w * (away - (away @ unit) * unit))).reshape(e.shape))
    return np.stack(rows)


@pytest.mark.parametrize(
    ("halves", "batches"), [("together", [6]), ("apart", [2, 2, 2])], ids=["together", "apart"]
)
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_three_branches_are_combined_as_the_paper_says(
    halves: Literal["together", "apart"], batches: list[int], weight: float
) -> None:
    predict = Counted()
    found = perp_neg(predict, COND, UNCOND, EMPTY, 7.5, weight, halves=halves)(X, 0.25)
    empty, negative, cond = (network(X, 0.25, each) for each in (EMPTY, UNCOND, COND))
    # float32 on values up to 30.
    reference = expected(empty, negative, cond, 7.5, weight)
    np.testing.assert_allclose(found, reference, rtol=0, atol=3e-5)
    assert predict.batches == batches
    assert found.dtype == np.float32


def test_negative_prompt_along_the_prompt_takes_nothing_away() -> None:
    empty = np.zeros_like(X)
    found = perp_guide(empty, 3 * X, X, 2.0, 1.0)
    np.testing.assert_allclose(found, 2 * X, rtol=0, atol=1e-5)


def test_what_is_left_is_at_right_angles() -> None:
    other = np.roll(X, 1, axis=-1)
    left = perpendicular(other, X)
    dots = np.einsum("nchw,nchw->n", left, X, dtype=np.float64)
    assert np.abs(dots).max() < 1e-4
    assert np.abs(left - other).max() > 0.01


def test_prompt_that_is_the_empty_one_has_no_direction() -> None:
    found = perp_guide(X, 2 * X, X, 5.0, 1.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, X - 5 * X, rtol=0, atol=1e-5)
