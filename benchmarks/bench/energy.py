"""Energy that the machine took, where it tells: the processor's counters, or the battery.

RAPL counts what the processor's packages take, memory and the rest of the machine not among it. A
battery's charge stands for the whole device, in steps of some ten joules that many devices renew
only every half minute: measure over minutes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from benchmarks.bench.results import Energy

CLASSES = Path("/sys/class")
JOULES_PER_UWH = 3.6e-3
RAPL_NAMES = "intel-rapl:*"
"""AMD's processors go by this name as well. `intel-rapl-mmio:*` counts the same a second time."""


class Meter(Protocol):
    """Counts energy from the moment that it is opened."""

    @property
    def source(self) -> Literal["rapl", "battery"]:
        """What is counted."""
        ...

    def joules(self) -> float | None:
        """Taken so far; None when it can't be told any more, as when the battery is charged.

        RAPL's counter starts again at its end, after some 45 minutes at 100 W: ask more often.
        """
        ...


def open_meter(root: Path = CLASSES) -> tuple[Meter | None, str | None]:
    """The finest meter that there is.

    Args:
        root: the folder of the system's device classes.

    Returns:
        The meter, or None and why there is none.
    """
    domains = _packages(root)
    reasons: list[str] = []
    if domains:
        try:
            return RaplMeter(domains), None
        except OSError as e:
            reasons.append(
                f"RAPL can't be read ({e.strerror}): {domains[0] / 'energy_uj'} is root's alone "
                "unless made readable"
            )
    else:
        reasons.append("no RAPL counters")
    batteries = _batteries(root)
    if any(_status(battery) == "Discharging" for battery in batteries):
        try:
            return BatteryMeter(batteries), None
        except (OSError, ValueError):
            reasons.append("the battery tells neither energy nor charge and voltage")
    else:
        reasons.append("not on battery")
    return None, f"energy: {'; '.join(reasons)}"


def summarize(
    meter: Meter, joules: float, seconds: float, pictures: int, idle_watts: float | None
) -> Energy:
    """Energy of `pictures` pictures that took `joules` and `seconds` in all."""
    return Energy(
        source=meter.source,
        joules_per_picture=joules / pictures,
        watts=joules / seconds,
        idle_watts=idle_watts,
    )


def idle_watts(meter: Meter, seconds: float = 2.0) -> float | None:
    """Mean power while nothing is done here; None from a battery, whose steps are too coarse."""
    if meter.source == "battery":
        return None
    before, began = meter.joules(), time.perf_counter()
    time.sleep(seconds)
    after = meter.joules()
    if before is None or after is None:
        return None
    return (after - before) / (time.perf_counter() - began)


class RaplMeter:
    """Sum of the packages' counters, which start again at `max_energy_range_uj`.

    Raises:
        OSError: a counter can't be read.
    """

    source: Literal["rapl"] = "rapl"

    def __init__(self, domains: Sequence[Path]) -> None:
        self._ranges = {d: _number(d / "max_energy_range_uj") for d in domains}
        self._last = {d: _number(d / "energy_uj") for d in domains}
        self._microjoules = 0

    def joules(self) -> float | None:
        """See `Meter.joules`."""
        try:
            now = {domain: _number(domain / "energy_uj") for domain in self._last}
        except OSError:
            return None
        for domain, counter in now.items():
            gained = counter - self._last[domain]
            self._microjoules += gained if gained >= 0 else gained + self._ranges[domain]
        self._last = now
        return self._microjoules * 1e-6


class BatteryMeter:
    """What the batteries lost.

    Raises:
        OSError, ValueError: a battery tells neither its energy nor its charge and voltage.
    """

    source: Literal["battery"] = "battery"

    def __init__(self, batteries: Sequence[Path]) -> None:
        self._batteries = batteries
        self._full = sum(map(_battery_joules, batteries))

    def joules(self) -> float | None:
        """See `Meter.joules`."""
        states = {_status(battery) for battery in self._batteries}
        if "Discharging" not in states or "Charging" in states:
            return None
        try:
            return self._full - sum(map(_battery_joules, self._batteries))
        except (OSError, ValueError):
            return None


def _packages(root: Path) -> list[Path]:
    """Domains of whole packages: not their parts (`intel-rapl:0:0`), nor "psys", which has all."""
    found = sorted((root / "powercap").glob(RAPL_NAMES))
    return [d for d in found if d.name.count(":") == 1 and _text(d / "name").startswith("package")]


def _batteries(root: Path) -> list[Path]:
    """The machine's own; a mouse's or a keyboard's has the scope "Device"."""
    supplies = sorted((root / "power_supply").glob("*"))
    return [
        s for s in supplies if _text(s / "type") == "Battery" and _text(s / "scope") != "Device"
    ]


def _status(battery: Path) -> str:
    return _text(battery / "status")


def _battery_joules(battery: Path) -> float:
    """From µWh, or from µAh and µV."""
    if (battery / "energy_now").exists():
        return _number(battery / "energy_now") * JOULES_PER_UWH
    volts = _number(battery / "voltage_now") * 1e-6
    return _number(battery / "charge_now") * volts * JOULES_PER_UWH


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
