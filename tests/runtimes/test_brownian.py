"""The Brownian path against torchsde's, and its law."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torchsde

from runtimes.brownian import BrownianPath
from runtimes.errors import UsageError

START, END = 0.029167, 14.614647
SHAPE = (2, 4, 8, 8)
# Of the largest value, about 10: float32 sums in another order, and normals up to 5e-7 beside.
TOLERANCE = 4e-6


def reference(seed: int, start: float = START, end: float = END) -> Any:
    """As diffusers' DPMSolverSDEScheduler makes it."""
    return torchsde.BrownianInterval(
        t0=start,
        t1=end,
        size=SHAPE,
        dtype=torch.float32,
        entropy=seed,
        tol=1e-6,
        pool_size=24,
        halfway_tree=True,
    )


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**40 + 5, 2**64 - 1])
def test_increments_equal_the_references(seed: int) -> None:
    path, theirs = BrownianPath(START, END, SHAPE, seed), reference(seed)
    times = [START, 0.03, 0.030001, 1.5, 1.500001, 7.321907, END]
    for low, high in [*pairwise(times), (START, END), (0.4, 9.9)]:
        expected = theirs(low, high).numpy()
        got = path(low, high)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)
        assert np.abs(expected).max() > 0.1 * math.sqrt(high - low)


def test_a_negative_seed_is_torchs() -> None:
    """torch takes -1 for 2**64 - 1."""
    path, theirs = BrownianPath(START, END, SHAPE, -1), BrownianPath(START, END, SHAPE, 2**64 - 1)
    np.testing.assert_array_equal(path(1, 2), theirs(1, 2))


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(UsageError) as raised:
        BrownianPath(START, END, SHAPE, seed)
    assert str(raised.value) == f"seed {seed} is out of range; give one from -2**63 to 2**64 - 1"


def test_the_path_does_not_hang_on_what_was_asked_before() -> None:
    times = np.geomspace(START, END, 30).tolist()
    asked = BrownianPath(START, END, SHAPE, 1)
    for low, high in pairwise(times):
        asked(low, high)
    fresh = BrownianPath(START, END, SHAPE, 1)
    for low, high in reversed([(0.5, 0.7), (3.0, 3.5), (0.1, 14.0)]):
        np.testing.assert_array_equal(asked(low, high), fresh(low, high))


def test_increments_add_up_and_turn_round() -> None:
    path = BrownianPath(START, END, SHAPE, 5)
    for middle in (0.03, 2.0, 7.321907, 14.6):
        parts = path(START, middle) + path(middle, END)
        np.testing.assert_allclose(parts, path(START, END), rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(path(middle, 1.0), -path(1.0, middle))
    assert not path(2.0, 2.0).any()


def test_times_beyond_the_ends_are_the_ends() -> None:
    path = BrownianPath(START, END, SHAPE, 5)
    np.testing.assert_array_equal(path(0.0, 99.0), path(START, END))
    assert not path(0.0, START).any()


def test_increments_have_the_law_of_brownian_motion() -> None:
    n = 20_000
    path = BrownianPath(START, END, (n,), 11)
    times = [START, 0.05, 0.4, 3.1, 3.100002, 9.0, END]
    increments = np.stack(
        [path(low, high) / math.sqrt(high - low) for low, high in pairwise(times)]
    ).astype(np.float64)
    # Five standard deviations of a mean and of a (co)variance of n unit normal values.
    bound = 5 / math.sqrt(n)
    assert np.abs(increments.mean(axis=1)).max() < bound
    covariance = np.cov(increments)
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=0, atol=bound * math.sqrt(2))
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), rtol=0, atol=bound)
    fourth = (increments**4).mean(axis=1)
    np.testing.assert_allclose(fourth, 3, rtol=0, atol=bound * math.sqrt(96))


def test_seeds_give_independent_paths() -> None:
    n = 20_000
    one, other = (BrownianPath(START, END, (n,), seed)(1.0, 2.0) for seed in (1, 2))
    assert abs(float(np.mean(one * other))) < 5 / math.sqrt(n)
