"""Pictures of the shapes model by sampler and steps: small runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from benchmarks.samplers.drawing import Drawing, Way, draw, is_deterministic, psnr_db, refusal
from benchmarks.shapes.score import prompts
from exporter.compile import compile
from runtimes.errors import UsageError
from runtimes.pipeline import Pipeline
from runtimes.samplers import SAMPLERS
from runtimes.samplers.ddim import DDIM
from runtimes.samplers.options import Options
from tests.conftest import Once


@dataclass(frozen=True)
class Noisy(DDIM):
    """DDIM that draws noise."""

    eta: float = 1.0
    OPTIONS: ClassVar[Options] = DDIM.OPTIONS


@pytest.fixture(scope="module")
def pipe(once: Once, shapes_bundle: Path) -> Iterator[Pipeline]:
    folder = once(
        "shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime")
    )
    with Pipeline.open(folder) as opened:
        yield opened


def test_pictures_do_not_depend_on_the_batch(pipe: Pipeline) -> None:
    asked, drawing = prompts("pair", 3), Drawing(batch=2)
    found = draw(pipe, asked, Way("dpmpp-2m"), 3, drawing)
    for picture, prompt in zip(found, asked, strict=True):
        alone = pipe(
            prompt.text,
            num_inference_steps=3,
            guidance_scale=drawing.guidance_scale,
            sampler="dpmpp-2m",
            seed=prompt.seed,
            output_type="np",
        ).images[0]
        np.testing.assert_allclose(picture, np.asarray(alone), atol=1e-4)
    assert found.std() > 0.05


def test_karras_levels_make_other_pictures(pipe: Pipeline) -> None:
    asked = prompts("single", 1)
    plain, karras = (
        draw(pipe, asked, Way.parse(n), 3, Drawing()) for n in ("euler", "euler+karras")
    )
    assert psnr_db(plain, karras)[0] < 40


def test_determinism_is_seen(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_deterministic(pipe, Way("ddim"), 2)
    monkeypatch.setitem(SAMPLERS, "noisy", f"{__name__}:Noisy")
    assert not is_deterministic(pipe, Way("noisy"), 2)


def test_what_a_sampler_cant_do_is_told(pipe: Pipeline) -> None:
    assert refusal(pipe, Way("ddim"), 4) is None
    assert "num_inference_steps must be" in (refusal(pipe, Way("ddim"), 1001) or "")


@pytest.mark.parametrize("name", ["ddim", "euler+karras"])
def test_names_are_read_as_they_are_written(name: str) -> None:
    assert str(Way.parse(name)) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dimm", "Did you mean 'ddim'"),
        ("dimm+karras", "unknown sampler 'dimm'"),
        ("ddim+karras", r"'ddim' has no Karras sigmas; give it without \+karras"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Way.parse(name)


def test_psnr_is_of_each_picture() -> None:
    black = np.zeros((3, 2, 2, 3), np.float32)
    other = black.copy()
    other[1] += 0.1
    other[2, 0, 0, 0] = 1
    assert psnr_db(other, black) == pytest.approx((120, 20, 10 * np.log10(12)), rel=1e-6)
