"""What tells that a processor slows itself down: frequency, temperature, counts of throttling."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

CPUS = Path("/sys/devices/system/cpu")


class Sensors(NamedTuple):
    """One reading.

    Attributes:
        frequency_mhz: of the fastest core, which is one that works; None where the system doesn't
            tell the true one. (A virtual machine's /proc/cpuinfo has a constant, as have the calls
            of macOS and Windows: a drop would never be seen there.)
        temperature_c: the highest; None where there is no sensor.
        throttled: how often the processor told that it throttled, since the system began; None
            where it doesn't count. Intel's do.
    """

    frequency_mhz: float | None
    temperature_c: float | None
    throttled: int | None


def read_sensors(cpus: Path = CPUS) -> Sensors:
    """Reads what there is.

    Args:
        cpus: the system's folder of processors.
    """
    khz = _numbers(cpus, "cpufreq/scaling_cur_freq")
    counts = _numbers(cpus, "thermal_throttle/core_throttle_count")
    return Sensors(
        frequency_mhz=max(khz) / 1e3 if khz else None,
        temperature_c=_highest_temperature(),
        throttled=sum(counts) if counts else None,
    )


def _numbers(cpus: Path, name: str) -> list[int]:
    found: list[int] = []
    for path in cpus.glob(f"cpu[0-9]*/{name}"):
        try:
            found.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # a core that is switched off
    return found


def _highest_temperature() -> float | None:
    import psutil

    if not hasattr(psutil, "sensors_temperatures"):
        return None
    chips: dict[str, list[Any]] = psutil.sensors_temperatures()
    return max(
        (s.current for sensors in chips.values() for s in sensors if s.current), default=None
    )
