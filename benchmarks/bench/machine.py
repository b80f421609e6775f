"""Where a benchmark runs: what a reader must know to repeat it."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bench.cgroup import Limits, read_limits
from benchmarks.bench.device_memory import open_device_memory
from benchmarks.bench.results import Machine

PACKAGES = (
    "latedge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "diffusers",
    "transformers",
)
"""Those whose versions decide about figures. They are read, not imported."""

GOVERNORS = Path("/sys/devices/system/cpu")


def describe(packages: Iterable[str] = PACKAGES) -> Machine:
    """This machine and this environment; some 10 ms, up to a second where there is a GPU.

    Args:
        packages: names of distributions; those that are not installed are left out.
    """
    import psutil

    limits = read_limits()
    return Machine(
        system=system(),
        processor=processor(),
        cores=usable_cores(limits),
        memory_bytes=min(psutil.virtual_memory().total, limits.memory_bytes or sys.maxsize),
        devices=_devices(),
        python=platform.python_version(),
        packages=installed(packages),
        power=_power(),
        governor=governor(),
    )


def system() -> str:
    """Such as "Linux 6.1 x86_64", "macOS 14.5 arm64", "Windows 11 AMD64"."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]} {platform.machine()}"
    short = re.match(r"\d+\.\d+", platform.release())
    release = short[0] if short else platform.release()
    return f"{platform.system()} {release} {platform.machine()}"


def processor(
    cpuinfo: Path = Path("/proc/cpuinfo"), board: Path = Path("/proc/device-tree/model")
) -> str:
    """The processor's model; of ARM boards, whose processors tell none, the board's."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    if sys.platform == "win32":
        return _registry_processor() or platform.processor() or platform.machine()
    told = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _text(cpuinfo), re.MULTILINE)
    name = told[1].strip() if told else _text(board)
    return name or platform.processor() or platform.machine()


def usable_cores(limits: Limits) -> int:
    """Logical cores that this process may use: its affinity, and a container's share rounded up."""
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return allowed if limits.cores is None else max(1, min(allowed, math.ceil(limits.cores)))


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def governor(cpus: Path = GOVERNORS) -> str | None:
    """The governor of the processor's frequency; all of them where cores have different ones."""
    names = {_text(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    return ", ".join(sorted(names)) or None


def _devices() -> tuple[str, ...]:
    found, _ = open_device_memory()
    if found is None:
        return ()
    try:
        return found.names()
    finally:
        found.close()


def _power() -> str | None:
    import psutil

    battery: Any = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _registry_processor() -> str:
    import importlib

    registry: Any = importlib.import_module("winreg")
    place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, place) as key:
            return str(registry.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
