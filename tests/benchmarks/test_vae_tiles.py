"""The VAE in tiles on the shapes model: seams, nearness to the whole, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.vae_tiles import Run, main, measure
from exporter.compile import compile

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module")
def compiled(once: Once, shapes_bundle: Path) -> Path:
    return once(
        "shapes-onnxruntime",
        lambda folder: compile(shapes_bundle, folder, target="onnxruntime"),
    )


@pytest.fixture(scope="module")
def runs(compiled: Path) -> dict[tuple[str, int | None], Run]:
    return {(run.half, run.tile): run for run in measure(compiled, 256, [256, 192, 128])}


def test_one_tile_of_the_pictures_size_is_the_whole(
    runs: dict[tuple[str, int | None], Run],
) -> None:
    for half in ("decode", "encode"):
        assert runs[half, 256].psnr_db == np.inf
        assert runs[half, 256].seam_rows is None


@pytest.mark.parametrize(("tile", "psnr_db"), [(192, 42), (128, 35)])
def test_seams_of_the_shapes_model_don_t_show(
    runs: dict[tuple[str, int | None], Run], tile: int, psnr_db: float
) -> None:
    found = runs["decode", tile]
    assert found.seam_rows is not None
    assert found.seam_columns is not None
    assert max(found.seam_rows, found.seam_columns) <= 1.1
    # Normalisation over a tile is another than over the picture: no tiles give the whole itself.
    assert found.psnr_db is not None
    assert found.psnr_db >= psnr_db


def test_encoder_in_tiles_comes_near_the_whole(runs: dict[tuple[str, int | None], Run]) -> None:
    found = runs["encode", 192].psnr_db
    assert found is not None
    assert found >= 28


def test_command_measures_and_draws(
    compiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "x.png"
    arguments = [str(compiled), "--size", "192", "--tiles", "128", "--picture", str(picture)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["half"], run["tile"]) for run in found["runs"]] == [
        ("encode", None),
        ("encode", 128),
        ("decode", None),
        ("decode", 128),
    ]
    assert all(run["rss_bytes"] > 0 and run["seconds"] > 0 for run in found["runs"])
    assert np.asarray(Image.open(picture)).shape == (192, 384, 3)
    assert main([str(compiled), "--size", "192", "--tiles", "128", "--no-whole"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("192×192 pixels")
    assert "PSNR" in table
    assert "dB" not in table.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a bundle, or the name of a synthetic model with --synthetic"),
        (["BUNDLE", "--synthetic", "sd15"], "give a bundle, or the name"),
        (["BUNDLE", "--tiles", "12,x"], "--tiles is whole numbers of pixels by commas, not '12,x'"),
        (["BUNDLE", "--tiles", "100"], "100 is not a multiple of 8, the VAE's factor"),
        (["BUNDLE", "--size", "0"], "0 is not a multiple of 8"),
    ],
)
def test_wrong_usage_is_told(
    compiled: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [str(compiled) if part == "BUNDLE" else part for part in arguments] or ["--size", "64"]
    assert main(given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_synthetic_vae_is_made_and_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--synthetic", "tiny-sd15", "--size", "256", "--tiles", "128", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert [run["tile"] for run in found] == [None, 128, None, 128]
    assert found[3]["psnr_db"] > 20
