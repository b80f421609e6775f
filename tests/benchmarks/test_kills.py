"""The benchmark that kills export and compile sees what a kill must not leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import benchmarks.kills as kills_module
from benchmarks.kills import bundle_faults, end_faults, faults, list_verbs, phase, snapshot

Export = Callable[[str], Path]


@pytest.fixture
def place(exported: Export, tmp_path: Path) -> Path:
    shutil.copytree(exported("tiny-sd15"), tmp_path / "place" / "bundle")
    return tmp_path / "place"


def test_whole_bundle_has_no_faults(place: Path) -> None:
    expected = snapshot(place / "bundle")
    assert "verification.json" in expected
    assert faults(place, [expected], may_be_absent=True) == []
    assert end_faults(place, expected) == []


def test_seconds_of_a_verification_do_not_count_and_figures_do(place: Path) -> None:
    path = place / "bundle" / "verification.json"
    before, report = snapshot(place / "bundle"), json.loads(path.read_text())
    report["components"]["unet"]["seconds_engine"] += 1
    path.write_text(json.dumps(report))
    assert snapshot(place / "bundle") == before
    report["components"]["unet"]["samples"] += 1
    path.write_text(json.dumps(report))
    assert bundle_faults(place / "bundle", [before]) == ["other bytes in verification.json"]


def test_half_a_bundle_is_a_fault(place: Path) -> None:
    expected = snapshot(place / "bundle")
    (place / "bundle" / "unet" / "model.safetensors").unlink()
    (fault,) = faults(place, [expected], may_be_absent=True)
    assert "model.safetensors is missing from the bundle" in fault


def test_lost_old_bundle_and_leftovers_are_faults(place: Path) -> None:
    expected = snapshot(place / "bundle")
    (place / ".bundle.partial").mkdir()
    assert faults(place, [expected], may_be_absent=True) == []
    assert end_faults(place, expected) == [".bundle.partial lies there"]
    (place / "other").mkdir()
    shutil.rmtree(place / "bundle")
    found = faults(place, [expected], may_be_absent=False)
    assert found == ["other lies there", "the old bundle is gone"]


def test_phase_is_told_from_the_last_line_and_the_partial_folder(tmp_path: Path) -> None:
    assert phase("", tmp_path) == "starting"
    assert phase("unet: compiled for openvino, fp16\n", tmp_path) == "put in place"
    (tmp_path / ".bundle.partial").mkdir()
    assert phase("", tmp_path) == "first component"
    assert phase("text_encoder: captured in 1 s\n", tmp_path) == "later components"
    assert phase("unet: running torch for reference\n", tmp_path) == "verification"


def test_verbs_share_all_kills(tmp_path: Path) -> None:
    assert sum(verb.share for verb in list_verbs(tmp_path)) == pytest.approx(1)


@pytest.mark.slow
def test_kills_leave_no_half_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs = kills_module.list_verbs
    monkeypatch.setattr(kills_module, "list_verbs", lambda folder: verbs(folder)[:2])

    app = typer.Typer()
    app.command()(kills_module.main)
    result = CliRunner().invoke(app, ["--count", "10", "-o", str(tmp_path / "kills.json")])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "kills.json").read_text())
    assert record["kills"] == 6
    assert all(tally["failures"] == [] for tally in record["verbs"].values())
