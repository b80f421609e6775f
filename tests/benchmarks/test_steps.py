"""Quality over steps: small runs of the shapes model, and what is read from the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shapes.score import prompts
from benchmarks.steps import Point, StepsConfig, as_text, draw, main, measure, plateau
from exporter.compile import compile
from runtimes.pipeline import Pipeline
from tests.conftest import Once


@pytest.fixture(scope="module")
def shapes_ort(once: Once, shapes_bundle: Path) -> Path:
    return once("shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime"))


def point(steps: int, right: str, psnr_db: float | None = 30.0) -> Point:
    rights = tuple(mark == "+" for mark in right)
    each = None if psnr_db is None else (psnr_db,) * len(rights)
    return Point("ddim", steps, {"single": rights}, each)


def test_pictures_do_not_depend_on_the_batch(shapes_ort: Path) -> None:
    asked = prompts("pair", 3)
    config = StepsConfig(samplers=("dpmpp-2m",), batch=2)
    with Pipeline.open(shapes_ort) as pipe:
        found = draw(pipe, asked, "dpmpp-2m", 3, config)
        for picture, prompt in zip(found, asked, strict=True):
            alone = pipe(
                prompt.text,
                num_inference_steps=3,
                guidance_scale=config.guidance_scale,
                sampler="dpmpp-2m",
                seed=prompt.seed,
                output_type="np",
            ).images[0]
            np.testing.assert_allclose(picture, np.asarray(alone), atol=1e-4)
    assert found.std() > 0.05


def test_more_steps_come_nearer_and_are_right_more_often(shapes_ort: Path) -> None:
    config = StepsConfig(samplers=("ddim",), steps=(1, 4, 12), count=6, classes=("single",))
    told: list[str] = []
    with Pipeline.open(shapes_ort) as pipe:
        points = measure(pipe, config, told.append)
    assert [found.steps for found in points] == [1, 4, 12]
    assert told[0] == f"ddim, 1 steps: {sum(points[0].all_right)} of 6 right"
    first, middle = (np.array(found.psnr_db) for found in points[:2])
    assert (first < middle).all()
    assert (middle < 100).all()
    assert points[2].psnr_db is None
    assert sum(points[0].all_right) < sum(points[2].all_right)


def test_plateau_begins_where_no_more_steps_are_better() -> None:
    few, some, many = "+" * 10 + "-" * 30, "+" * 36 + "-" * 4, "+" * 37 + "-" * 3
    assert plateau([point(2, few), point(4, some), point(8, many)]) == 4
    assert plateau([point(2, some), point(4, some)]) == 2
    assert plateau([point(2, few), point(4, few), point(8, many)]) == 8


def test_table_pairs_each_with_the_most_steps() -> None:
    points = [point(2, "++--"), point(4, "++++", None)]
    text = as_text(StepsConfig(samplers=("ddim",), steps=(2, 4), classes=("single",)), points)
    lines = text.splitlines()
    assert lines[2].startswith("| ddim | 2 | 50 (15 to 85) | -50 (")
    assert lines[2].endswith(" | 30.0, 30.0 |")
    assert lines[3] == "| ddim | 4 | 100 (51 to 100) |  |  |"
    assert lines[-1] == "No more steps are measurably better from: ddim 2."


def test_command_gives_json(shapes_ort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "2,1", "--sampler", "euler", "--count", "1"]
    assert main([str(shapes_ort), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["steps"] == [1, 2]
    assert [(p["sampler"], p["steps"]) for p in found["points"]] == [("euler", 1), ("euler", 2)]
    assert set(found["points"][0]["right"]) == {"single", "pair"}
    assert found["origin"]["engine"].startswith("onnxruntime ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "2,x"], "--steps takes whole numbers such as 4,8,20; given '2,x'."),
        (["--steps", "0,2"], "--steps takes numbers of 1 and more; given '0,2'."),
        (["--count", "0"], "--count is at least 1; given 0."),
        (["--sampler", "dimm"], "Did you mean 'ddim'?"),
    ],
)
def test_wrong_usage_ends_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nowhere", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_model_of_other_pictures_is_refused(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile(shapes_bundle, tmp_path / "c", target="onnxruntime", height=64, width=96)
    assert main([str(tmp_path / "c"), "--count", "1"]) == 2
    assert (
        "draws 96×64 pixels; the score judges the shapes model's 64×64" in capsys.readouterr().err
    )
