"""Sensors on made trees, and where there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.bench.sensors import Sensors, read_sensors


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.usefixtures("cold")
def test_nothing_is_told(tmp_path: Path) -> None:
    assert read_sensors(tmp_path) == Sensors(None, None, None)


@pytest.mark.usefixtures("cold")
def test_fastest_core_and_all_counts(tmp_path: Path) -> None:
    for cpu, khz, count in (("cpu0", "800000\n", "2\n"), ("cpu12", "3400000\n", "3\n")):
        write(tmp_path / cpu / "cpufreq/scaling_cur_freq", khz)
        write(tmp_path / cpu / "thermal_throttle/core_throttle_count", count)
    write(tmp_path / "cpu3" / "cpufreq/scaling_cur_freq", "<unknown>\n")
    write(tmp_path / "cpufreq" / "cpufreq/scaling_cur_freq", "9900000\n")
    assert read_sensors(tmp_path) == Sensors(3400.0, None, 5)


def test_highest_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, list[SimpleNamespace]]:
        return {
            "k10temp": [SimpleNamespace(current=61.5), SimpleNamespace(current=None)],
            "nvme": [SimpleNamespace(current=40.0)],
        }

    monkeypatch.setattr(psutil, "sensors_temperatures", told, raising=False)
    assert read_sensors(tmp_path).temperature_c == 61.5
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert read_sensors(tmp_path).temperature_c is None
