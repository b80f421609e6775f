"""Meters of energy on made trees of the system's device classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.bench.energy import BatteryMeter, RaplMeter, idle_watts, open_meter, summarize

Write = Callable[[str, object], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(name: str, value: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
        return path

    return one


@pytest.fixture
def rapl(write: Write) -> Write:
    """Two packages, the first with a part; what counts the same again; what counts all."""
    domains = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for folder, name in domains.items():
        write(f"powercap/{folder}/name", name)
        write(f"powercap/{folder}/energy_uj", 1_000_000)
        write(f"powercap/{folder}/max_energy_range_uj", 10_000_000)
    return write


@pytest.fixture
def battery(write: Write) -> Write:
    write("power_supply/AC/type", "Mains")
    write("power_supply/mouse/type", "Battery")
    write("power_supply/mouse/scope", "Device")
    write("power_supply/mouse/status", "Discharging")
    write("power_supply/BAT0/type", "Battery")
    write("power_supply/BAT0/status", "Discharging")
    write("power_supply/BAT0/energy_now", 50_000_000)
    return write


def test_packages_are_added_and_nothing_counts_twice(rapl: Write, tmp_path: Path) -> None:
    meter, note = open_meter(tmp_path)
    assert isinstance(meter, RaplMeter)
    assert note is None
    assert meter.joules() == 0
    for folder in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        rapl(f"powercap/{folder}/energy_uj", 3_500_000)
    rapl("powercap/intel-rapl:1/energy_uj", 1_250_000)
    assert meter.joules() == pytest.approx(2.75)


def test_counter_that_starts_again_goes_on(rapl: Write, tmp_path: Path) -> None:
    meter, _ = open_meter(tmp_path)
    assert meter is not None
    for counter, joules in ((9_000_000, 8.0), (500_000, 9.5), (900_000, 9.9), (100_000, 19.1)):
        rapl("powercap/intel-rapl:0/energy_uj", counter)
        assert meter.joules() == pytest.approx(joules)


def test_counters_without_permission_are_told(rapl: Write, tmp_path: Path) -> None:
    counter = tmp_path / "powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # can't be read by anybody, root included
    meter, note = open_meter(tmp_path)
    assert meter is None
    assert note is not None
    assert note.startswith("energy: RAPL can't be read (")
    assert f"{counter} is root's alone unless made readable; not on battery" in note


def test_counter_that_fails_later_gives_no_figure(rapl: Write, tmp_path: Path) -> None:
    meter, _ = open_meter(tmp_path)
    assert meter is not None
    (tmp_path / "powercap/intel-rapl:1/energy_uj").unlink()
    assert meter.joules() is None
    assert idle_watts(meter, seconds=0) is None


def test_nothing_there_is_told(tmp_path: Path) -> None:
    assert open_meter(tmp_path) == (None, "energy: no RAPL counters; not on battery")


def test_battery_by_energy(battery: Write, tmp_path: Path) -> None:
    meter, _ = open_meter(tmp_path)
    assert isinstance(meter, BatteryMeter)
    assert meter.joules() == 0
    battery("power_supply/BAT0/energy_now", 49_990_000)
    assert meter.joules() == pytest.approx(36.0)  # 0.01 Wh
    assert idle_watts(meter) is None


def test_battery_by_charge_and_voltage(battery: Write, tmp_path: Path) -> None:
    (tmp_path / "power_supply/BAT0/energy_now").unlink()
    battery("power_supply/BAT0/charge_now", 4_000_000)
    battery("power_supply/BAT0/voltage_now", 12_000_000)
    meter, _ = open_meter(tmp_path)
    assert meter is not None
    battery("power_supply/BAT0/charge_now", 3_999_000)
    assert meter.joules() == pytest.approx(43.2)  # 1 mAh at 12 V


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging"])
def test_battery_that_is_not_discharging_counts_nothing(
    battery: Write, tmp_path: Path, status: str
) -> None:
    meter, _ = open_meter(tmp_path)
    assert meter is not None
    battery("power_supply/BAT0/status", status)
    assert meter.joules() is None
    assert open_meter(tmp_path) == (None, "energy: no RAPL counters; not on battery")


def test_battery_without_figures_is_told(battery: Write, tmp_path: Path) -> None:
    (tmp_path / "power_supply/BAT0/energy_now").unlink()
    meter, note = open_meter(tmp_path)
    assert meter is None
    assert note == (
        "energy: no RAPL counters; the battery tells neither energy nor charge and voltage"
    )


def test_energy_of_a_picture(rapl: Write, tmp_path: Path) -> None:
    meter, _ = open_meter(tmp_path)
    assert meter is not None
    energy = summarize(meter, joules=60, seconds=4, pictures=3, idle_watts=2.5)
    assert (energy.source, energy.joules_per_picture, energy.watts) == ("rapl", 20, 15)
    assert energy.idle_watts == 2.5
