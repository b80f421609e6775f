"""Clusters on a line, against the best there are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.coreml.compress.kmeans import cluster

Floats = NDArray[np.float64]


def counted(numbers: NDArray[np.floating]) -> tuple[Floats, NDArray[np.intp]]:
    values, counts = np.unique(numbers.astype(np.float64), return_counts=True)
    return values, counts


def squared_error(values: Floats, counts: NDArray[np.intp], clusters: int) -> float:
    means, ends = cluster(values, counts, clusters)
    lengths = np.diff(ends, prepend=0)
    assert lengths.min() > 0
    assert lengths.sum() == len(values)
    return float(counts @ (values - np.repeat(means, lengths)) ** 2)


def least_error(values: Floats, counts: NDArray[np.intp], clusters: int) -> float:
    """By dynamic programming over every end of every cluster."""
    n = len(values)
    cost = np.full((n + 1, n + 1), np.inf)
    for start in range(n):
        for stop in range(start + 1, n + 1):
            own, times = values[start:stop], counts[start:stop]
            cost[start, stop] = times @ (own - np.average(own, weights=times)) ** 2
    least = cost[0]
    for _ in range(clusters - 1):
        least = (least[:, np.newaxis] + cost).min(axis=0)
    return float(least[n])


@pytest.mark.parametrize("clusters", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_small_sets_are_within_one_percent_of_the_best(clusters: int, seed: int) -> None:
    values, counts = counted(np.random.default_rng(seed).standard_t(3, 300).round(1))
    best = least_error(values, counts, clusters)
    assert best <= squared_error(values, counts, clusters) * (1 + 1e-9)
    assert squared_error(values, counts, clusters) <= 1.01 * best + 1e-12


@pytest.mark.parametrize(("bits", "decibels"), [(1, 4.40), (2, 9.30), (3, 14.62), (4, 20.22)])
def test_gaussian_numbers_reach_the_known_optimum(bits: int, decibels: float) -> None:
    """Lloyd's and Max's quantisers: "Quantizing for minimum distortion", 1960, table 1."""
    numbers = np.random.default_rng(0).standard_normal(200_000).astype(np.float16)
    values, counts = counted(numbers)
    error = squared_error(values, counts, 2**bits) / counts.sum()
    assert 10 * np.log10(np.var(numbers.astype(float)) / error) == pytest.approx(decibels, abs=0.03)


def test_far_from_zero_squares_do_not_cancel() -> None:
    values, counts = counted(np.random.default_rng(0).standard_normal(2000).round(2))
    near, _ = cluster(values, counts, 16)
    far, _ = cluster(values + 2.0**20, counts, 16)
    np.testing.assert_allclose(far - 2.0**20, near, atol=1e-6)


def test_fewer_values_than_clusters_are_their_own_clusters() -> None:
    means, ends = cluster(np.array([-1.0, 2.0]), np.array([3, 1]), 4)
    assert means.tolist() == [-1.0, 2.0]
    assert ends.tolist() == [1, 2]


def test_an_outlier_gets_a_cluster_of_its_own() -> None:
    values = np.concatenate([np.linspace(-1, 1, 200), [1000.0]])
    means, ends = cluster(values, np.ones(201, int), 4)
    assert means[-1] == 1000
    assert ends.tolist()[-2:] == [200, 201]
