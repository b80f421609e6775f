"""`latedge bench` on the shapes model, from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import latedge
from benchmarks.bench.results import read

Capture = pytest.CaptureFixture[str]
SMALL = [
    *("--sessions", "2", "--rounds", "1", "--sampler", "ddim", "--steps", "2", "--quality", "2"),
    *("--threads", "1"),
]


def test_two_engines_side_by_side(
    shapes_ort: Path, shapes_ov: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "x.json"
    arguments = ["bench", str(shapes_ort), str(shapes_ov), *SMALL, "--json", "-o", str(output)]
    assert latedge.main(arguments) == 0
    shown = capsys.readouterr()
    report = read(output)
    assert json.loads(shown.out) == json.loads(output.read_bytes())
    assert "session 2 of 2: round 1 of 1" in shown.err

    first, second = report.subjects
    assert first.engine.startswith("onnxruntime ")
    assert second.engine.startswith("openvino ")
    for row in report.subjects:
        assert row.error is None
        assert set(row.stages) >= {"load", "first_call", "text_encoder", "unet_call", "picture"}
        assert row.stages["unet_call"].summary.n == 2 * 2  # two sessions of a picture of two steps
        assert row.memory is not None
        assert row.size_bytes is not None
        assert row.size_bytes < row.memory.peak_rss
        assert [limit.component for limit in row.limits] == ["text_encoder", "unet", "vae_decoder"]
        assert all(limit.costliest and limit.flops for limit in row.limits)
        assert row.quality is not None
        assert len(row.quality.pictures) == 2
    # The first is stored in fp32, so it is the reference: of itself it draws the same.
    assert first.quality is not None
    assert first.quality.equal
    assert second.quality is not None
    assert second.quality.psnr_db is not None
    assert second.quality.psnr_db > 60
    assert {ratio.stage for ratio in report.ratios} >= {"unet_call", "picture"}


def test_torch_is_a_row_too(shapes_ort: Path, capsys: Capture) -> None:
    flags = "--against torch --no-limits --quality 0 --sessions 1 --rounds 1 --steps 1 --csv"
    assert latedge.main(["bench", str(shapes_ort), *flags.split()]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["program"] for row in rows] == ["latedge", "torch"]
    assert rows[1]["engine"].startswith("torch ")
    assert float(rows[1]["unet_call_p50_ms"]) > 0


def test_a_bundle_whose_engine_fails_is_a_row_and_the_status_is_1(
    shapes_ort: Path, tmp_path: Path, capsys: Capture
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(shapes_ort, broken)
    flags = "--no-limits --quality 0 --sessions 1 --rounds 1 --steps 1 --markdown"
    # Found whole when it is opened first, and truncated by the time that it is loaded.
    import benchmarks.bench.request as request

    original = request.check_same_model

    def truncate(entries: object) -> None:
        original(entries)  # pyright: ignore[reportArgumentType]
        weights = broken / "unet" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "check_same_model", truncate)
        status = latedge.main(["bench", str(shapes_ort), str(broken), *flags.split()])
    shown = capsys.readouterr()
    assert status == 1
    assert "error: broken: " in shown.err
    assert "model.safetensors" in shown.err
    assert "| broken |" in shown.out


def test_results_are_compared(shapes_ort: Path, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "x.json"
    flags = "--no-limits --quality 0 --sessions 2 --rounds 1 --steps 1 --json"
    assert latedge.main(["bench", str(shapes_ort), *flags.split(), "-o", str(output)]) == 0
    capsys.readouterr()
    assert latedge.main(["bench", "--compare", str(output), str(output)]) == 0
    assert "No figure is worse by more than 5 %" in capsys.readouterr().out
    assert latedge.main(["bench", "--compare", str(output), str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] is False
    assert {row["subject"] for row in found["rows"]} == {shapes_ort.name}
