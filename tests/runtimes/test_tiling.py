"""Tiles: what they cover, what blending keeps, and what it hides."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.seams import border_lines, seams
from runtimes.noise import Generator
from runtimes.tiling import tiled, windows

Floats = NDArray[Any]

FACTOR = 4


def enlarge(x: Floats) -> Floats:
    """A decoder that sees no further than one cell."""
    return x.repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)


def reduce(x: Floats) -> Floats:
    """An encoder of that kind."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // FACTOR, FACTOR, w // FACTOR, FACTOR).mean(axis=(3, 5))


def smooth(height: int, width: int) -> Floats:
    """Latents without detail, on which a seam would show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / 9 + y / 7), np.cos(x / 11), np.sin(y / 13)]
    return np.stack(waves)[np.newaxis].astype(np.float32)


@given(st.integers(1, 90), st.integers(2, 40), st.sampled_from([1, 4]))
def test_windows_cover_an_axis_and_their_weights_add_up(cells: int, tile: int, per: int) -> None:
    found = windows(cells, tile, per)
    total = np.zeros(cells * per)
    for window in found:
        assert window.stop - window.start == min(cells, tile)
        assert (window.weights > 0).all()
        total[window.values(per)] += window.weights
    np.testing.assert_allclose(total, 1, atol=1e-6, rtol=0)
    for before, after in pairwise(found):
        assert before.start < after.start <= before.stop - max(1, round(tile / 4))


def test_tiles_count_for_nothing_at_their_edges() -> None:
    first, second, third = windows(40, 16, 8)
    for edge in (first.weights[-1], second.weights[0], second.weights[-1], third.weights[0]):
        assert edge < 0.002
    assert first.weights[0] == third.weights[-1] == second.weights[60] == 1


@pytest.mark.parametrize("size", [(16, 16), (9, 16), (3, 5)])
def test_one_tile_is_the_whole(size: tuple[int, int]) -> None:
    x = Generator(0).randn((2, 3, *size))
    seen: list[Floats] = []

    def run(part: Floats) -> Floats:
        seen.append(part)
        return enlarge(part) * np.float32(1.1)

    found = tiled(run, x, tile=(16, 16), in_cell=1, out_cell=FACTOR)
    np.testing.assert_array_equal(found, enlarge(x) * np.float32(1.1))
    assert len(seen) == 1


@pytest.mark.parametrize("size", [(40, 33), (17, 16), (12, 70)])
def test_what_sees_one_cell_alone_comes_out_the_same(size: tuple[int, int]) -> None:
    x = Generator(1).randn((2, 3, *size))
    found = tiled(enlarge, x, tile=(16, 20), in_cell=1, out_cell=FACTOR)
    # The weights are float32 and add up to 1 within their own rounding.
    np.testing.assert_allclose(found, enlarge(x), atol=2e-6, rtol=0)
    pixels = Generator(2).randn((1, 3, size[0] * FACTOR, size[1] * FACTOR))
    found = tiled(reduce, pixels, tile=(16, 20), in_cell=FACTOR, out_cell=1)
    np.testing.assert_allclose(found, reduce(pixels), atol=2e-6, rtol=0)


def test_no_call_sees_more_than_a_tile() -> None:
    shapes: set[tuple[int, ...]] = set()

    def run(part: Floats) -> Floats:
        assert part.flags.c_contiguous
        shapes.add(part.shape)
        return enlarge(part)

    tiled(run, smooth(100, 61), tile=(16, 24), in_cell=1, out_cell=FACTOR)
    assert shapes == {(1, 3, 16, 24)}


def test_tints_are_levelled() -> None:
    def run(part: Floats) -> Floats:
        return enlarge(part - part.mean(axis=(2, 3), keepdims=True))

    x = smooth(60, 50)
    difference = tiled(run, x, tile=(20, 20), in_cell=1, out_cell=FACTOR) - enlarge(x)
    # What is common to all tiles can't be known; between them nothing is left.
    spread = np.ptp(difference, axis=(2, 3))
    assert spread.max() < 2e-5
    assert np.abs(difference).max() > 0.01


def normalised(part: Floats) -> Floats:
    """A decoder that normalises over all that it sees, as group normalisation does."""
    mean, deviation = (f(part, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return enlarge((part - mean) / deviation)


def test_borders_of_tiles_are_no_steeper_than_the_picture() -> None:
    x = smooth(80, 72) + np.float32(0.05) * Generator(4).randn((1, 3, 80, 72))
    whole = normalised(x)
    blended = tiled(normalised, x, tile=(32, 32), in_cell=1, out_cell=FACTOR)
    butted: Any = np.zeros_like(whole)
    for top in (0, 32, 48):
        for left in (0, 32, 40):
            part = normalised(x[:, :, top : top + 32, left : left + 32])
            rows, columns = part.shape[2:]
            butted[:, :, top * 4 : top * 4 + rows, left * 4 : left * 4 + columns] = part

    def measured(picture: Floats, rows: list[int], columns: list[int]) -> float:
        shown, expected = (np.moveaxis(p[0], 0, 2) for p in (picture, whole))
        return seams(shown, expected, rows, columns).worst

    rows, columns = (border_lines(windows(n, 32, FACTOR), FACTOR) for n in (80, 72))
    assert len(rows) == len(columns) == 6
    assert measured(blended, rows, columns) < 1.1
    assert measured(butted, [128, 192], [128, 160]) > 1.1, "the measure sees no seams at all"
