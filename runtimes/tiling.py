"""The VAE in tiles: memory that doesn't grow with the picture, and seams that nobody sees.

Neighbouring tiles overlap, and where they do one fades into the other. Two things make them differ
there. Near a tile's edge the convolutions see padding in place of what lies beyond: a weight that
starts at zero with zero slope keeps that out. And group normalisation takes mean and variance over
the tile alone, so that tiles differ in tint all over. The tints are levelled first, by one number a
tile and channel that makes tiles agree where they overlap, as panoramas are (M. Brown and D. Lowe,
"Automatic Panoramic Image Stitching using Invariant Features", 2007, section 6; offsets here, gains
there); what is left of the step, the overlap turns into a slope too gentle to see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

OVERLAP = 0.25
"""Share of a tile's side that its neighbour covers too, at least."""


@dataclass(frozen=True)
class Window:
    """A stretch of one axis, in latent cells, and how much its tile counts at each value of it.

    Attributes:
        start: its first cell.
        stop: the cell behind its last one.
        weights: at each value of the output, float32; those of all windows add up to 1.
    """

    start: int
    stop: int
    weights: Floats

    def values(self, per_cell: int) -> slice:
        """Its values, where a cell has so many."""
        return slice(self.start * per_cell, self.stop * per_cell)


@dataclass(frozen=True)
class _Tile:
    """What came of one tile, and where it lies in the output: [n, c, h, w]."""

    rows: slice
    columns: slice
    weights: Floats
    values: Floats

    def cut(self, rows: slice, columns: slice) -> Floats:
        """A part of it, by the output's rows and columns."""
        top, left = self.rows.start, self.columns.start
        return self.values[
            :, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]


def windows(cells: int, tile: int, per_cell: int) -> list[Window]:
    """Covers an axis with tiles of one size, spread evenly.

    Args:
        cells: length of the axis.
        tile: cells of a tile; an axis that is no longer gets one window.
        per_cell: values of the output per cell.
    """
    if cells <= tile:
        return [Window(0, cells, np.ones(cells * per_cell, np.float32))]
    overlap = max(1, round(tile * OVERLAP))
    count = -(-(cells - overlap) // (tile - overlap))
    starts = [round(i * (cells - tile) / (count - 1)) for i in range(count)]
    shared = [0, *(a + tile - b for a, b in pairwise(starts)), 0]
    shapes = [
        _shape(tile * per_cell, before * per_cell, after * per_cell)
        for before, after in pairwise(shared)
    ]
    total = np.zeros(cells * per_cell)
    places = [slice(start * per_cell, (start + tile) * per_cell) for start in starts]
    for place, shape in zip(places, shapes, strict=True):
        total[place] += shape
    return [
        Window(start, start + tile, (shape / total[place]).astype(np.float32))
        for start, place, shape in zip(starts, places, shapes, strict=True)
    ]


def _shape(length: int, before: int, after: int) -> NDArray[np.float64]:
    """1 in the middle; rising as sine squared over the first values, falling over the last."""

    def rising(n: int) -> NDArray[np.float64]:
        return np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)) ** 2

    shape = np.ones(length)
    shape[:before] *= rising(before)
    shape[length - after :] *= rising(after)[::-1]
    return shape


def tiled(
    run: Callable[[Floats], Floats],
    x: Floats,
    *,
    tile: tuple[int, int],
    in_cell: int,
    out_cell: int,
) -> Floats:
    """Runs a half of a VAE tile by tile and blends what it gives.

    Args:
        run: the half, on one tile [n, c, h, w].
        x: what it is given: [n, c, H, W].
        tile: cells of a tile, down and across.
        in_cell: values of `x` per latent cell along a side: 1 for latents, the VAE's factor for a
            picture.
        out_cell: the same for the output.

    Returns:
        The output, float32; where one tile covers `x`, exactly what `run` gives.
    """
    rows = windows(x.shape[2] // in_cell, tile[0], out_cell)
    columns = windows(x.shape[3] // in_cell, tile[1], out_cell)
    if len(rows) == len(columns) == 1:
        return run(x)
    tiles = [
        _Tile(
            row.values(out_cell),
            column.values(out_cell),
            row.weights[:, np.newaxis] * column.weights,
            run(np.ascontiguousarray(x[:, :, row.values(in_cell), column.values(in_cell)])),
        )
        for row in rows
        for column in columns
    ]
    sides = (tiles[-1].rows.stop, tiles[-1].columns.stop)
    out = np.zeros((*tiles[0].values.shape[:2], *sides), np.float32)
    for each, offset in zip(tiles, _levels(tiles), strict=True):
        out[:, :, each.rows, each.columns] += (each.values + offset) * each.weights
    return out


def _levels(tiles: list[_Tile]) -> Floats:
    """What is added to each tile so that they agree where they overlap: [tiles, n, c, 1, 1].

    Least squares over all overlaps, each as heavy as it is large, with a mean of zero.
    """
    count = len(tiles)
    samples = tiles[0].values.shape[:2]
    laplacian, differences = np.zeros((count, count)), np.zeros((count, *samples))
    for i, one in enumerate(tiles):
        for j in range(i + 1, count):
            other = tiles[j]
            rows, columns = _common(one.rows, other.rows), _common(one.columns, other.columns)
            size = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
            if not size:
                continue
            between = one.cut(rows, columns) - other.cut(rows, columns)
            step = size * between.mean(axis=(2, 3), dtype=np.float64)
            laplacian[[i, j], [i, j]] += size
            laplacian[[i, j], [j, i]] -= size
            differences[i] -= step
            differences[j] += step
    # The laplacian says nothing of what is common to all tiles: that is left as it is.
    solved = np.linalg.pinv(laplacian, hermitian=True) @ differences.reshape(count, -1)
    return solved.astype(np.float32).reshape(count, *samples, 1, 1)


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))
