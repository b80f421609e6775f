"""Pictures of Core ML packages beside those in fp32: targets, judging, rows, and one real run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks import coreml_quality
from benchmarks.command_line import run_command
from benchmarks.coreml_quality import BOTH, Row, deployment_target, judged, main, table
from benchmarks.shapes.generator import CLASSES, draw
from benchmarks.shapes.score import Prompt, prompts

COUNT = 4


@pytest.mark.parametrize(
    ("scheme", "target"),
    [
        ("fp16", "iOS17"),
        ("palette-6", "iOS17"),
        ("int8", "iOS17"),
        ("int4", "iOS18"),
        ("palette-4-g16", "iOS18"),
    ],
)
def test_a_compression_is_for_the_oldest_system_from_the_default_on(
    scheme: str, target: str
) -> None:
    assert deployment_target(scheme) == target


def _asked() -> dict[str, tuple[Prompt, ...]]:
    return {known: prompts(known, COUNT) for known in CLASSES}


def _shown(asked: dict[str, tuple[Prompt, ...]]) -> coreml_quality.Pictures:
    return {
        known: [draw(prompt.scene).astype(np.float32) / np.float32(255) for prompt in each]
        for known, each in asked.items()
    }


def test_pictures_are_judged_beside_the_first_of_the_reference() -> None:
    asked = _asked()
    reference = _shown(asked)
    pictures = {known: [p.copy() for p in each[:2]] for known, each in reference.items()}
    few = {known: each[:2] for known, each in asked.items()}
    same = judged(few, pictures, reference)
    assert same["picture_psnr_db"] == {"mean": None, "min": None}
    assert [same["change"][name].estimate for name in (*CLASSES, BOTH)] == [0, 0, 0]

    pictures["single"][0][:] = 0.5  # a grey picture shows nothing
    pictures["pair"][1] += np.float32(0.01)
    found = judged(few, pictures, reference)
    assert found["right"]["single"].estimate == same["right"]["single"].estimate - 0.5
    assert found["change"]["single"].estimate == -0.5
    assert found["change"][BOTH].estimate == -0.25
    psnr = found["picture_psnr_db"]
    assert psnr["min"] is not None
    assert psnr["mean"] is not None
    assert psnr["min"] < 20 < psnr["mean"] < 40


def test_rows_are_kept_by_scheme_and_device(tmp_path: Path) -> None:
    asked = _asked()
    figures = judged(asked, _shown(asked), _shown(asked))
    row = Row("fp16", "iOS17", "reference", COUNT, None, 1.0, 11_160_000, **figures)
    rounded = dataclasses.replace(
        row, device="reference:fp16", picture_psnr_db={"mean": 75.04, "min": 60.0}
    )
    output = tmp_path / "rows.json"
    for each in (row, rounded, row):
        coreml_quality._write(output, each)  # pyright: ignore[reportPrivateUsage]
    assert coreml_quality._kept(output) == [rounded, row]  # pyright: ignore[reportPrivateUsage]
    lines = table([row, rounded]).splitlines()[2:]
    assert "| fp16 | iOS17 | reference | 2×4 | equal (equal) |" in lines[0]
    assert "| reference:fp16 | 2×4 | 75.0 dB (60.0 dB) |" in lines[1]
    assert "| 11.16 MB |" in lines[1]


def test_wrong_options_are_told_before_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, "x", ["palette-7"]) == 2
    assert "unknown compression 'palette-7'" in capsys.readouterr().err
    assert run_command(main, "x", ["fp16", "--count", "2", "--rounded", "3"]) == 2
    assert "--rounded 3 is more than --count 2" in capsys.readouterr().err


@pytest.mark.slow
def test_packages_draw_what_the_fp32_build_draws(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    options = ["--bundle", str(shapes_bundle), "--count", "1", "--rounded", "0", "-o", str(output)]
    assert run_command(main, "x", ["fp16", *options]) == 0
    (row,) = coreml_quality._kept(output)  # pyright: ignore[reportPrivateUsage]
    assert row.picture_psnr_db["min"] is not None
    assert row.picture_psnr_db["min"] > 35
    assert "| fp16 |" in capsys.readouterr().out
