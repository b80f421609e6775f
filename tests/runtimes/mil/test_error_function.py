"""The error function against the standard library's."""

from __future__ import annotations

import math

import numpy as np

from runtimes.mil.ops.error_function import error_function


def test_it_is_as_exact_as_float32() -> None:
    x = np.linspace(-6, 6, 40001, dtype=np.float32)
    exact = np.array([math.erf(one) for one in x.tolist()])
    np.testing.assert_allclose(error_function(x), exact, rtol=2e-7, atol=0)


def test_shapes_are_kept_and_chunks_join() -> None:
    x = np.linspace(-3, 3, 3 * 20000, dtype=np.float32).reshape(3, 20000)
    found = error_function(x)
    np.testing.assert_array_equal(found[1], error_function(x[1]))
    assert error_function(np.array(0.5, np.float32)).shape == ()


def test_what_is_no_number_stays_so() -> None:
    found = error_function(np.array([np.nan, np.inf, -np.inf, -0.0], np.float32))
    np.testing.assert_array_equal(found, [np.nan, 1, -1, -0.0])
    assert np.signbit(found[3])
