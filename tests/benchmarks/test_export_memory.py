"""Memory and time of an export by phase: rows, their sums, the file, and one real export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import export_memory
from benchmarks.command_line import run_command
from benchmarks.export_memory import Phase, Row, full_sized, main, measure, table
from exporter.phases import CAPTURE, CONVERT, PHASES, WEIGHTS, WRITE, begin, observed, work_on

PHASES_OF_A_ROW = (
    Phase("", "open", 1.0, 0.5, 300_000_000),
    Phase("unet", CAPTURE, 20.0, 15.0, 900_000_000),
    Phase("unet", WEIGHTS, 5.0, 2.0, 800_000_000),
)


def _row(model: str = "sdxl", verify: str = "none") -> Row:
    return Row(model, verify, 7_000_000_000, 1.5, PHASES_OF_A_ROW)


def test_copying_is_left_out_of_the_time_and_the_highest_phase_is_the_peak() -> None:
    row = _row()
    assert (row.seconds(), row.seconds(copying=False)) == (26.0, 21.0)
    assert row.seconds(cpu=True, copying=False) == 15.5
    assert row.peak_rss == 900_000_000
    shown = table([row])
    assert "| sdxl | 7.00 GB | none | 0.90 GB | 26 | 21 | 16 |" in shown
    assert "| unet | capture | 0.90 GB | 20.0 | 15.0 |" in shown


def test_a_row_takes_the_place_of_its_like_alone(tmp_path: Path) -> None:
    output = tmp_path / "r" / "rows.json"
    for row in (_row(), _row("sd15"), _row(verify="components"), _row("sd15")):
        export_memory._write(output, row)  # pyright: ignore[reportPrivateUsage]
    rows = export_memory._kept(output)  # pyright: ignore[reportPrivateUsage]
    assert [(row.model, row.verify) for row in rows] == [
        ("sdxl", "none"),
        ("sdxl", "components"),
        ("sd15", "none"),
    ]
    assert rows[0] == _row()
    assert json.loads(output.read_text())["machine"]["cores"] > 0


def test_what_is_no_model_is_refused_before_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, "x", ["sd15", "sd16"]) == 2
    assert "'sd16' is neither a folder nor a synthetic model" in capsys.readouterr().err
    assert run_command(main, "x", ["sd15", "--verify", "all"]) == 2


def test_full_sized_models_are_those_that_were_published() -> None:
    names = full_sized()
    assert {"sd15", "sdxl", "sdxl-refiner"} <= set(names)
    assert not [name for name in names if "tiny" in name or "small" in name]


def test_phases_are_told_to_observers_with_their_component() -> None:
    told: list[tuple[str, str]] = []
    begin(CAPTURE)  # to nobody
    with observed(lambda *phase: told.append(phase)):
        begin(CAPTURE)
        with work_on("unet"):
            begin(CONVERT)
    begin(WRITE)
    assert told == [("", CAPTURE), ("unet", CONVERT)]


@pytest.mark.slow
def test_an_export_is_measured_by_phase(synthesized: Callable[[str], Path], tmp_path: Path) -> None:
    row = measure("tiny", synthesized("tiny-sd15"), tmp_path / "bundle", "none")
    phases = [(each.component, each.phase) for each in row.phases]
    assert phases[0] == ("", "open")
    made = [(name, phase) for name in ("text_encoder", "unet") for phase in list(PHASES)[:4]]
    assert phases[1:9] == made
    assert all(each.peak_rss > 50_000_000 for each in row.phases)
    assert 0 < row.weight_bytes < 100_000_000
