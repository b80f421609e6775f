"""Weights as indices into tables."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.coreml.compress import palette
from exporter.coreml.compress.packing import unpack
from exporter.coreml.compress.palette import palettize
from exporter.errors import CompileError

GAUSSIAN_DB = {8: 43.8, 6: 31.8, 4: 20.1, 3: 14.5, 2: 9.2, 1: 4.3}
"""What the best quantiser of so many bits reaches on Gaussian numbers, to a tenth below."""


@pytest.fixture(scope="module")
def weight() -> NDArray[np.float16]:
    numbers = np.random.default_rng(0).standard_normal((64, 48, 3, 3)) * 0.03
    return numbers.astype(np.float16)


def signal_to_noise(weight: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    exact = weight.astype(np.float64)
    return float(10 * np.log10(np.var(exact) / np.mean((found - exact) ** 2)))


@pytest.mark.parametrize("bits", GAUSSIAN_DB)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_gaussian_weight_keeps_what_so_many_bits_can(
    weight: NDArray[np.float16], bits: int, dtype: type
) -> None:
    found = palettize(weight.astype(dtype), bits, key="w")
    values = found.decompress()
    assert values.dtype == dtype
    assert values.shape == weight.shape
    assert len(np.unique(values.astype(np.float64))) == 2**bits
    assert signal_to_noise(weight, values) >= GAUSSIAN_DB[bits]
    assert found.size_bits == weight.size * bits + 2**bits * values.itemsize * 8


def test_every_value_gets_the_nearest_of_the_table(
    weight: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(palette, "_AT_ONCE", 1000)
    found = palettize(weight, 4, key="w")
    exact = weight.astype(np.float64)
    distances = np.abs(exact[..., np.newaxis] - found.tables[0].astype(np.float64))
    np.testing.assert_array_equal(
        np.abs(exact - found.decompress().astype(np.float64)), distances.min(axis=-1)
    )


def test_groups_have_tables_of_their_own(weight: NDArray[np.float16]) -> None:
    scaled = (weight * np.float16(2) ** (np.arange(64) // 16)[:, None, None, None]).astype("f2")
    found = palettize(scaled, 4, 16, key="w")
    assert found.tables.shape == (4, 16)
    assert found.lut().shape == (4, 1, 1, 1, 16, 1)
    for group in range(4):
        own = slice(16 * group, 16 * group + 16)
        alone = palettize(scaled[own], 4, key="w")
        np.testing.assert_array_equal(found.decompress()[own], alone.decompress())
    together = palettize(scaled, 4, key="w")
    assert signal_to_noise(scaled, found.decompress()) > (
        signal_to_noise(scaled, together.decompress()) + 1
    )


def test_channels_that_groups_do_not_divide_share_one_table(weight: NDArray[np.float16]) -> None:
    found = palettize(weight, 4, 24, key="w")
    np.testing.assert_array_equal(found.tables, palettize(weight, 4, key="w").tables)


def test_packed_indices_are_those_of_the_rows(weight: NDArray[np.float16]) -> None:
    found = palettize(weight, 6, key="w")
    indices = unpack(found.packed(), 6, weight.size).reshape(weight.shape)
    np.testing.assert_array_equal(found.tables[0][indices], found.decompress())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_few_values_are_kept_as_they_are(dtype: type) -> None:
    weight = np.array([[0.0, -0.0, 1.5], [2.0**-14, -2.5, 1.5]], dtype)
    found = palettize(weight, 3, key="w")
    np.testing.assert_array_equal(found.decompress(), weight)
    assert found.tables.shape == (1, 8)


def test_small_and_large_float32_keep_their_range() -> None:
    numbers = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    for factor in (1e-12, 1e12):
        weight = numbers * np.float32(factor)
        assert signal_to_noise(weight, palettize(weight, 6, key="w").decompress()) >= 31.8


def test_a_weight_of_zeros_stays_one() -> None:
    for dtype in (np.float16, np.float32):
        assert not palettize(np.zeros((8, 8), dtype), 2, key="w").decompress().any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(dtype: type, bad: float) -> None:
    weight = np.zeros((4, 4), dtype)
    weight[1, 2] = bad
    with pytest.raises(CompileError, match=r"blocks\.0\.weight has values that are NaN or inf"):
        palettize(weight, 4, key="blocks.0.weight")
