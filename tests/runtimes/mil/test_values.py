"""Types of values, and rounding to half precision."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import BY_NAME, TensorType, round_to_half


def test_types_tell_which_shapes_fit() -> None:
    kind = TensorType(BY_NAME["fp16"], (2, None))
    assert str(kind) == "fp16 [2, ?]"
    assert kind.count is None
    assert kind.fits((2, 7))
    assert not kind.fits((3, 7))
    assert not kind.fits((2,))
    assert TensorType(BY_NAME["fp16"], (2, 3)).count == 6
    assert TensorType(BY_NAME["fp16"], ()).count == 1


def test_halves_are_the_nearest_ones() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300, 300)) * 10.0 ** rng.integers(-9, 7, (300, 300))).T
    x = x.astype(np.float32)
    x[0, :6] = [65519, 65520, -np.inf, np.nan, 1 + 2**-11, 2**-25]
    found = round_to_half(x)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16).astype(np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[0, :6], [65504, np.inf, -np.inf, np.nan, 1, 0])
    assert not np.shares_memory(found, x)
