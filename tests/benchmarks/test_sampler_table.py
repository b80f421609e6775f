"""The table of samplers: its text, its file and its command line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.sampler_table import as_text, main
from benchmarks.samplers.accuracy import Config, Point, Table
from exporter.compile import compile
from runtimes.metadata import Origin
from tests.conftest import Once

Capture = pytest.CaptureFixture[str]
ORIGIN = Origin(
    bundle_sha256="0", engine="an engine 1", device="cpu", threads=None, latedge_version="1"
)


@pytest.fixture(scope="module")
def shapes_ort(once: Once, shapes_bundle: Path) -> Path:
    return once("shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime"))


def point(
    way: str, steps: int, right: int, count: int, psnr_db: float | None = None, **more: str
) -> Point:
    rights = (True,) * right + (False,) * (count - right)
    near = None if psnr_db is None else (psnr_db,)
    return Point(way=way, steps=steps, right={"single": rights}, psnr_db=near, **more)


def test_text_tells_accuracy_difference_and_nearness() -> None:
    config = Config(ways=("ddim", "euler", "noisy", "odd", "late"), steps=(4, 20))
    points = (
        point("ddim", 50, 400, 500, 60),
        point("ddim", 4, 60, 100, 30),
        point("ddim", 20, 395, 500, 50),
        point("euler", 20, 300, 500, 50),
        point("noisy", 20, 400, 500),
        Point(way="odd", steps=20, refused="odd takes 1000 steps"),
    )
    lines = as_text(Table(config=config, origin=ORIGIN, points=points)).splitlines()
    assert lines[0] == "| steps | 4 | 20 |"
    assert lines[2].startswith("| ddim | 60 (-40.0, -49.1 to -29.4), 30 dB | ")
    assert lines[2].endswith(", 50 dB |")
    assert "79 (-1.0, -2." in lines[2]
    assert lines[3].startswith("| euler | – | 60 (-20.0, ")
    assert lines[4].startswith("| noisy | – | 80 (+0.0, ")
    assert lines[4].endswith(") |")
    assert lines[5] == "| odd | – | – |"
    assert "400 prompts at 20 steps, 50 elsewhere" in lines[8]
    assert lines[9] == "Deterministic ones at 20 steps within 2 points: ddim."
    assert lines[10].endswith("is within the interval: none.")
    assert lines[11].startswith("Further off: euler -20.0, ")
    assert lines[12:] == ["odd at 20: odd takes 1000 steps"]


OPTIONS = ["--count", "1", "--close-count", "1", "--converged-steps", "2", "--baseline-steps", "2"]


def test_command_goes_on_where_it_stopped(
    shapes_ort: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "x.json"
    ask = [str(shapes_ort), "-o", str(output), *OPTIONS]
    assert main([*ask, "--sampler", "euler", "--steps", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("| steps | 1 |\n|---|---|\n| euler | ")
    assert shown.err.count(" right (") == 2
    first = msgspec.json.decode(output.read_bytes(), type=Table)
    assert main([*ask, "--sampler", "euler+karras", "--sampler", "euler", "--steps", "2,1"]) == 0
    assert [line[:6] for line in capsys.readouterr().err.splitlines()[1:]] == [
        "1 of 3",
        "2 of 3",
        "3 of 3",
    ]
    second = msgspec.json.decode(output.read_bytes(), type=Table)
    assert second.points[:2] == first.points
    assert (second.config.ways, second.config.steps) == (("euler+karras", "euler"), (1, 2))
    # Everything is known: nothing is drawn, the table is told again.
    assert main([*ask, "--sampler", "euler", "--steps", "1"]) == 0
    assert capsys.readouterr().err == ""


def test_another_measurement_is_not_mixed_in(
    shapes_ort: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "x.json"
    config = Config(ways=(), count=1, close_count=1, baseline_steps=2, converged_steps=2)
    output.write_bytes(msgspec.json.encode(Table(config=config, origin=ORIGIN, points=())))
    for text in (output.read_text(encoding="utf-8"), "{}"):
        output.write_text(text, encoding="utf-8")
        assert main([str(shapes_ort), "-o", str(output), *OPTIONS]) == 2
        said = capsys.readouterr().err
        assert "measured with another bundle" in said or "is no table of samplers" in said
        assert output.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "2,x"], "--steps takes whole numbers such as 4,8,20; given '2,x'."),
        (["--steps", "0,2"], "--steps takes numbers of 1 and more; given '0,2'."),
        (["--count", "0"], "--count is at least 1 and at most --close-count; given 0 and 200."),
        (["--count", "9", "--close-count", "8"], "given 9 and 8."),
        (["--sampler", "dimm"], "Did you mean 'ddim'?"),
        (["--sampler", "ddim+karras"], "'ddim' has no Karras sigmas"),
        (["-o", "nowhere/x.json"], "nowhere/x.json can't be written: its folder does not exist."),
    ],
)
def test_wrong_usage_ends_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["nowhere", "-o", str(tmp_path / "x.json"), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
