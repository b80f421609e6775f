"""PSNR and SSIM against their formulas, and what becomes of a subject's pictures."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import benchmarks.bench.quality as quality
from benchmarks.bench.clip_score import ClipScorer
from benchmarks.bench.quality import NO_SSIM, compare, measure_quality, psnr_db, ssim
from benchmarks.bench.reference import NO_REFERENCE, Ask, Reference
from runtimes.errors import UsageError
from runtimes.pictures import to_uint8
from tests.conftest import REPOSITORY

Floats = NDArray[np.float32]

ASKS = tuple(Ask(f"picture {n}", n) for n in range(5))


def noise(seed: int, height: int = 20, width: int = 24) -> Floats:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def wang_ssim(a: Floats, b: Floats) -> float:
    """Wang et al.'s equations, window by window."""
    axis = np.arange(11) - 5
    gauss = np.exp(-(axis**2) / (2 * 1.5**2))
    weights = np.outer(gauss, gauss) / gauss.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2
    found: list[float] = []
    for channel in range(3):
        x, y = a[..., channel].astype(np.float64), b[..., channel].astype(np.float64)
        for top in range(x.shape[0] - 10):
            for left in range(x.shape[1] - 10):
                u, v = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
                mu, nu = (weights * u).sum(), (weights * v).sum()
                uu, vv = (weights * (u - mu) ** 2).sum(), (weights * (v - nu) ** 2).sum()
                uv = (weights * (u - mu) * (v - nu)).sum()
                found.append(
                    (2 * mu * nu + c1) * (2 * uv + c2) / ((mu**2 + nu**2 + c1) * (uu + vv + c2))
                )
    return float(np.mean(found))


@pytest.mark.parametrize(("offset", "decibels"), [(0.5, 6.0206), (0.1, 20.0), (0.001, 60.0)])
def test_psnr_of_a_constant_difference(offset: float, decibels: float) -> None:
    picture = np.full((7, 9, 3), 0.25, np.float32)
    found = psnr_db(picture + np.float32(offset), picture)
    assert found == pytest.approx(decibels, abs=1e-3)  # float32 holds 0.25 + 0.001 to 3e-8


def test_psnr_keeps_what_float32_would_lose() -> None:
    """A difference of 2^-20 at one value of 1440: its square is below float32's steps at 1."""
    a, b = noise(0), noise(0)
    b[3, 4, 1] += np.float32(2**-20)
    difference = float(b[3, 4, 1]) - float(a[3, 4, 1])
    assert psnr_db(a, b) == pytest.approx(-10 * math.log10(difference**2 / a.size), rel=1e-12)


def test_equal_pictures_have_no_psnr_and_an_ssim_of_one() -> None:
    assert psnr_db(noise(1), noise(1)) is None
    assert ssim(noise(1), noise(1)) == 1.0


def test_ssim_follows_the_equations_of_wang() -> None:
    a = noise(2)
    for b in (noise(3), np.clip(a + 0.1 * (noise(4) - 0.5), 0, 1), np.full_like(a, 0.5), a * 0.7):
        # The library filters in one pass; only the order of sums differs.
        assert ssim(b, a) == pytest.approx(wang_ssim(a, b), abs=1e-12)


@pytest.mark.parametrize("sides", [(1, 1), (3, 40), (8, 8), (10, 11), (11, 11), (12, 5)])
def test_ssim_of_small_pictures(sides: tuple[int, int]) -> None:
    a, b = noise(5, *sides), noise(6, *sides)
    assert ssim(a, a) == 1.0
    assert -1 <= ssim(b, a) < 0.9


def test_pictures_of_other_sizes_or_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="20×24 can't be compared with a reference of 20×25"):
        compare([noise(0)], [noise(0, 20, 25)])
    with pytest.raises(UsageError, match="20×24 can't be compared with a reference of 20×25"):
        ssim(noise(0), noise(0, 20, 25))
    with pytest.raises(UsageError, match="2 pictures can't be compared with 1 reference"):
        compare([noise(0), noise(1)], [noise(0)])


class FakeClip:
    """Scores a picture by its seed's value."""

    folder = "clip folder"

    def score(self, picture: Floats, prompt: str) -> float:
        return float(prompt.removeprefix("picture "))


def drawn(offsets: Sequence[float]) -> tuple[list[Floats], Any]:
    """Reference pictures, and a painter whose pictures are off by a constant each."""
    references = [noise(n) * np.float32(0.5) for n in range(len(offsets))]

    def paint(prompt: str, seed: int) -> Floats:
        assert prompt == f"picture {seed}"
        return references[seed] + np.float32(offsets[seed])

    return references, paint


def test_figures_of_several_pictures() -> None:
    references, paint = drawn((0.1, 0.0, 0.01, 0.001, 0.0))
    found = measure_quality(paint, ASKS, Reference("torch", tuple(references)))
    assert found.reference == "torch"
    assert found.psnr_db == pytest.approx(40, abs=0.01)  # of 20, 40 and 60; two are equal
    assert found.psnr_db_min == pytest.approx(20, abs=0.01)
    values = [ssim(paint(ask.prompt, ask.seed), references[ask.seed]) for ask in ASKS]
    assert (found.ssim, found.ssim_min) == (np.median(values), min(values))
    assert (found.equal, found.notes) == (False, ())
    assert (found.clip_score, found.accuracy) == (None, {})
    assert [(kept.prompt, kept.seed) for kept in found.pictures] == [
        (ask.prompt, ask.seed) for ask in ASKS[:4]
    ]
    for kept in found.pictures:
        shown = np.asarray(Image.open(io.BytesIO(kept.png)))
        np.testing.assert_array_equal(shown, to_uint8(paint(kept.prompt, kept.seed)))


def test_equal_pictures_are_said_to_be() -> None:
    references, paint = drawn((0.0, 0.0))
    found = measure_quality(paint, ASKS[:2], Reference("itself", tuple(references)))
    assert (found.equal, found.psnr_db, found.psnr_db_min) == (True, None, None)
    assert (found.ssim, found.ssim_min) == (1.0, 1.0)


def test_without_a_reference_nothing_is_compared_and_a_note_says_so() -> None:
    _, paint = drawn((0.0, 0.1))
    clip = cast("ClipScorer", FakeClip())
    found = measure_quality(paint, ASKS[:2], None, clip=clip)
    assert (found.reference, found.psnr_db, found.ssim, found.equal) == (None, None, None, False)
    assert found.notes == (NO_REFERENCE,)
    assert (found.clip_score, found.clip_model) == (0.5, "clip folder")
    assert len(found.pictures) == 2


def test_without_scikit_image_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "find_spec", lambda name: None)
    references, paint = drawn((0.1,))
    found = measure_quality(paint, ASKS[:1], Reference("torch", tuple(references)))
    assert found.psnr_db == pytest.approx(20, abs=0.01)
    assert (found.ssim, found.ssim_min, found.notes) == (None, None, (NO_SSIM,))


def test_no_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one prompt"):
        measure_quality(drawn(())[1], (), None)


def test_neither_torch_nor_an_engine_is_imported() -> None:
    code = (
        "import sys, benchmarks.bench.quality, benchmarks.bench.reference\n"
        "import benchmarks.bench.clip_score, benchmarks.bench.shapes_accuracy\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'onnx_ir', 'onnx', 'skimage', 'scipy'}\n"
        "assert not (heavy | {'onnxruntime', 'openvino'}) & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
