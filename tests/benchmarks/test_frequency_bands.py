"""Energy by spatial frequency, on waves whose band is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.frequency_bands import EDGES, NAMES, band_energies


def wave(cycles: int, size: int = 64) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A cosine along the columns, `cycles` times in `size` pixels, of three equal channels."""
    line = np.cos(2 * np.pi * cycles * np.arange(size) / size)
    return np.repeat(np.tile(line, (size, 1))[..., np.newaxis], 3, axis=2)


@pytest.mark.parametrize(("cycles", "band"), [(1, 0), (2, 1), (4, 2), (8, 3), (16, 4), (32, 4)])
def test_a_wave_lies_in_its_own_band(cycles: int, band: int) -> None:
    found = band_energies(wave(cycles))
    expected = np.zeros(len(NAMES))
    expected[band] = 1.0 if cycles == 32 else 0.5
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bands_add_up_to_the_variance() -> None:
    picture = np.random.default_rng(0).random((24, 40, 3)) * np.array([1.0, 2.0, 3.0])
    assert band_energies(picture).sum() == pytest.approx(picture.var(axis=(0, 1)).mean(), rel=1e-12)


def test_bands_have_names() -> None:
    assert len(NAMES) == len(EDGES) - 1
    assert NAMES[0] == "below 1/32"
    assert NAMES[1] == "1/32 to 1/16"
    assert NAMES[-1] == "1/4 and up"
