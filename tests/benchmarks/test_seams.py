"""The measure of seams, on pictures whose seams are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.seams import border_lines, psnr_db, seams
from runtimes.noise import Generator
from runtimes.tiling import windows


def test_border_lines_are_where_tiles_begin_end_and_take_over() -> None:
    first, second = windows(20, 12, 8)
    assert (first.stop, second.start) == (12, 8)
    assert border_lines([first, second], 8) == [64, 80, 96]
    assert border_lines([first], 8) == []


@pytest.mark.parametrize(("step", "ratio"), [(0.0, 1.0), (3.0, 3.2)])
def test_step_at_a_border_is_seen(step: float, ratio: float) -> None:
    whole = Generator(0).randn((96, 60, 3))
    tiled = whole.copy()
    tiled[40:] += step
    found = seams(tiled, whole, [40], [30])
    # The mean of |d| of unit noise is 1.128, with a step of 3 in it about 3.07.
    assert found.rows == pytest.approx(ratio, rel=0.2 if step else 1e-12)
    assert found.columns == pytest.approx(1)
    assert found.worst == max(found.rows or 0, found.columns or 0)


def test_picture_without_borders_has_no_ratio() -> None:
    whole = Generator(0).randn((96, 60, 3))
    found = seams(whole, whole, [], [30])
    assert (found.rows, found.columns) == (None, 1)


def test_psnr() -> None:
    zeros = np.zeros((4, 4))
    assert psnr_db(zeros, zeros) == np.inf
    assert psnr_db(zeros + 0.1, zeros) == pytest.approx(20)
    assert psnr_db(zeros + 0.1, zeros, peak=10) == pytest.approx(40)
