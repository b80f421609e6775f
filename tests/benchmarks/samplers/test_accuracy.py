"""What the table of samplers measures: pairs, counts, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.samplers.accuracy import Config, Measurement, Point
from benchmarks.shapes.intervals import paired_difference
from exporter.compile import compile
from runtimes.errors import UsageError
from runtimes.pipeline import Pipeline
from tests.conftest import Once


@pytest.fixture(scope="module")
def pipe(once: Once, shapes_bundle: Path) -> Iterator[Pipeline]:
    folder = once(
        "shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime")
    )
    with Pipeline.open(folder) as opened:
        yield opened


CONFIG = Config(
    ways=("euler", "ddim"),
    steps=(1, 4),
    count=1,
    close_steps=4,
    close_count=2,
    baseline_steps=2,
    converged_steps=12,
)


def test_points_come_one_by_one_and_are_taken_up_again(pipe: Pipeline) -> None:
    told: list[str] = []
    tables = list(Measurement(pipe, CONFIG, told.append).run())
    assert [len(table.points) for table in tables] == [1, 2, 3, 4, 5]
    keys = [(point.way, point.steps, len(point.all_right)) for point in tables[-1].points]
    wanted = [("euler", 1, 2), ("euler", 4, 4), ("ddim", 1, 2), ("ddim", 4, 4)]
    assert keys == [("ddim", 2, 4), *wanted]
    assert told[0] == "the converged pictures: dpmpp-2m, 12 steps"
    assert told[1].startswith("1 of 5: ddim, 2 steps: ")

    for way in CONFIG.ways:
        few, more = (tables[-1].point(way, steps) for steps in (1, 4))
        assert few is not None
        assert more is not None
        # More steps come nearer to the converged picture.
        nearness = np.array([few.psnr_db, more.psnr_db])
        assert nearness.shape == (2, 2)
        assert (nearness[0] < nearness[1]).all()
        assert (nearness[1] < 100).all()

    first = tables[2]
    again = list(Measurement(pipe, CONFIG, told.append).run(first.points))
    assert [table.points for table in again] == [table.points for table in tables[3:]]


def test_the_converged_picture_is_its_samplers_own(pipe: Pipeline) -> None:
    config = Config(
        ways=("dpmpp-2m",),
        steps=(12,),
        count=1,
        close_count=1,
        baseline_steps=1,
        converged_steps=12,
    )
    *_, table = Measurement(pipe, config, lambda _: None).run()
    point = table.point("dpmpp-2m", 12)
    assert point is not None
    assert point.psnr_db == (120, 120)


def test_what_doesnt_run_is_noted(pipe: Pipeline) -> None:
    config = Config(
        ways=("ddim",), steps=(1001,), count=1, close_count=1, baseline_steps=1, converged_steps=1
    )
    *_, table = Measurement(pipe, config, lambda _: None).run()
    point = table.point("ddim", 1001)
    assert point is not None
    assert "num_inference_steps must be a whole number from 1 to 1000" in (point.refused or "")
    assert (point.right, point.psnr_db) == ({}, None)


def test_differences_are_paired_by_class_and_prompt() -> None:
    few = Point(way="a", steps=1, right={"single": (True, False), "pair": (True, True)})
    more = Point(
        way="b",
        steps=1,
        right={"single": (True, True, False, False), "pair": (False, True, True, True)},
    )
    expected = paired_difference((True, True, False, True), (True, False, True, True))
    assert few.against(more) == more_to(few, more) == expected
    assert expected.estimate == 0


def more_to(few: Point, more: Point) -> object:
    turned = more.against(few)
    return type(turned)(-turned.estimate, -turned.high, -turned.low)


def test_a_model_of_other_pictures_is_refused(shapes_bundle: Path, tmp_path: Path) -> None:
    folder = compile(shapes_bundle, tmp_path / "c", target="onnxruntime", height=64, width=96)
    del folder
    with Pipeline.open(tmp_path / "c") as other:
        message = "draws 96×64 pixels; the score judges the shapes model's 64×64"
        with pytest.raises(UsageError, match=message):
            next(Measurement(other, CONFIG, lambda _: None).run())
