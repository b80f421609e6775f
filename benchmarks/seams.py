"""How much the borders of tiles show in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.tiling import Window

Floats = NDArray[np.floating[Any]]

NEIGHBOURS = (-4, -3, -2, 2, 3, 4)
"""Lines that a border is compared with, counted from it in pixels. Those right beside it would have
their share of a seam that is two lines wide."""


@dataclass(frozen=True)
class Seams:
    """How much steeper a picture is across borders than beside them.

    The mean absolute difference across border lines, divided by that across the neighbouring lines,
    and this divided by the same of the untiled picture, in which nothing is at those places but
    what the picture itself has there. 1 is no seam.

    Attributes:
        rows: across horizontal borders, all together; None where there are none.
        columns: across vertical ones.
    """

    rows: float | None
    columns: float | None

    @property
    def worst(self) -> float:
        """The larger of the two."""
        return max(ratio for ratio in (self.rows, self.columns) if ratio is not None)


def border_lines(windows: Sequence[Window], per_cell: int) -> list[int]:
    """Lines at which a border could show, in values of the output.

    Where a tile begins, where its neighbour ends, and half way, where one takes over from the
    other. A line n lies between the values n - 1 and n.
    """
    lines: set[int] = set()
    for before, after in pairwise(windows):
        first, last = after.start * per_cell, before.stop * per_cell
        lines |= {first, (first + last) // 2, last}
    return sorted(lines)


def seams(tiled: Floats, whole: Floats, rows: Sequence[int], columns: Sequence[int]) -> Seams:
    """Measures the borders of a tiled picture.

    Args:
        tiled: [height, width, channels].
        whole: the same picture without tiles.
        rows: border lines down the picture; see `border_lines`.
        columns: border lines across it.
    """
    return Seams(_ratio(tiled, whole, rows, 0), _ratio(tiled, whole, columns, 1))


def _ratio(tiled: Floats, whole: Floats, lines: Sequence[int], axis: int) -> float | None:
    if not lines:
        return None
    return _steepness(tiled, lines, axis) / _steepness(whole, lines, axis)


def _steepness(picture: Floats, lines: Sequence[int], axis: int) -> float:
    steps = np.abs(np.diff(picture.astype(np.float64), axis=axis))
    by_line = steps.mean(axis=tuple(i for i in range(3) if i != axis))
    borders = np.array(lines) - 1
    beside = np.array([line - 1 + apart for line in lines for apart in NEIGHBOURS])
    return float(by_line[borders].mean() / by_line[beside].mean())


def psnr_db(found: Floats, expected: Floats, peak: float = 1.0) -> float:
    """PSNR in dB; infinite where the two are equal."""
    error = float(np.mean((found.astype(np.float64) - expected) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(peak**2 / error))
