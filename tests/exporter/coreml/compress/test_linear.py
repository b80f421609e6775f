"""Weights as whole numbers times scales."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.coreml.compress import linear
from exporter.coreml.compress.linear import affine, block_size, blockwise
from exporter.errors import CompileError


@pytest.fixture(scope="module")
def weight() -> NDArray[np.float16]:
    numbers = np.random.default_rng(0).standard_normal((48, 64, 3, 3)) * 0.03
    return numbers.astype(np.float16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_int8_is_off_by_half_a_step_of_its_channel(
    weight: NDArray[np.float16], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_AT_ONCE", 2000)
    found = affine(weight.astype(dtype), key="w")
    assert found.scale.shape == (48,)
    assert found.decompress().dtype == dtype
    exact = weight.astype(np.float64)
    step = np.abs(exact).max(axis=(1, 2, 3), keepdims=True) / 127
    off = np.abs(found.decompress().astype(np.float64) - exact)
    assert (off <= step * 0.501 + np.abs(exact) * 2.0**-11).all()
    assert np.abs(found.data).max() == 127
    assert found.size_bits == weight.size * 8 + 48 * np.dtype(dtype).itemsize * 8


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_int4_is_off_by_half_a_step_of_its_block(weight: NDArray[np.float16], dtype: type) -> None:
    found = blockwise(weight.astype(dtype), 32, key="w")
    assert found.scale.shape == (48, 2, 1, 1)
    exact = weight.astype(np.float64)
    blocks = exact.reshape(48, 2, 32, 3, 3)
    step = np.abs(blocks).max(axis=(2, 3, 4), keepdims=True) / 7
    off = np.abs(found.decompress().astype(np.float64).reshape(blocks.shape) - blocks)
    assert (off <= step * 0.51).all()
    assert np.abs(found.data).max() == 7
    assert found.size_bits == weight.size * 4 + 48 * 2 * np.dtype(dtype).itemsize * 8


def test_small_weights_are_rounded_by_the_scale_that_is_stored() -> None:
    """Their scales are subnormal halves, of which the first is 2**-24: 0 would lose all."""
    weight = (np.linspace(-1, 1, 8 * 300).reshape(8, 300) * 5e-5).astype(np.float16)
    found = affine(weight, key="w")
    assert (found.scale > 0).all()
    off = np.abs(found.decompress().astype(np.float64) - weight.astype(np.float64))
    largest = np.abs(weight.astype(np.float64)).max(axis=1, keepdims=True)
    assert (off <= 0.5 * (largest / 127 + 2.0**-24) + 1e-12).all()


def test_zeros_stay_zeros() -> None:
    weight = np.zeros((4, 64), np.float16)
    weight[1] = 1
    np.testing.assert_array_equal(affine(weight, key="w").decompress(), weight)
    np.testing.assert_array_equal(blockwise(weight, 32, key="w").decompress(), weight)


@pytest.mark.parametrize(
    ("channels", "size"), [(320, 32), (48, 16), (40, 8), (100, 100), (7, 7), (32, 32)]
)
def test_a_block_divides_the_input_channels(channels: int, size: int) -> None:
    assert block_size(channels, 32) == size


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    weight = np.ones((4, 32), np.float16)
    weight[3, 5] = bad
    with pytest.raises(CompileError, match="NaN or infinite, which no scale fits"):
        affine(weight, key="w")
    with pytest.raises(CompileError, match=r"^w has values that are NaN"):
        blockwise(weight, 32, key="w")
