"""The machine's description: true here, and read right from what other systems tell."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import benchmarks.bench.machine as machine
from benchmarks.bench.cgroup import Limits
from benchmarks.bench.machine import describe, governor, installed, processor, system, usable_cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_this_machine() -> None:
    found = describe(["numpy", "no-such-package"])
    assert found.packages == {"numpy": version("numpy")}
    assert found.python == platform.python_version()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 2**28 < found.memory_bytes <= psutil.virtual_memory().total
    assert found.processor.strip()
    assert platform.machine() in found.system


def test_limits_of_a_container_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine, "read_limits", lambda: Limits(cores=1.0, memory_bytes=12345))
    found = describe([])
    assert (found.cores, found.memory_bytes) == (1, 12345)


@linux
def test_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))  # pyright: ignore[reportUnknownLambdaType]
    assert usable_cores(Limits(None, None)) == 8
    assert usable_cores(Limits(2.5, None)) == 3
    assert usable_cores(Limits(0.2, None)) == 1
    assert usable_cores(Limits(64.0, None)) == 8


@linux
@pytest.mark.parametrize(
    ("cpuinfo", "board", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9\nmodel name\t: x\n", "", "AMD EPYC 9"),
        ("processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n", "", "Raspberry Pi 5"),
        ("processor\t: 0\nCPU part\t: 0xd42\n", "NVIDIA Jetson\0", "NVIDIA Jetson"),
    ],
)
def test_processor(tmp_path: Path, cpuinfo: str, board: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "board").write_text(board)
    assert processor(tmp_path / "cpuinfo", tmp_path / "board") == expected


@linux
def test_processor_that_is_not_told(tmp_path: Path) -> None:
    found = processor(tmp_path / "absent", tmp_path / "absent")
    assert found in (platform.processor(), platform.machine())
    assert found


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> SimpleNamespace:
        assert command == ["sysctl", "-n", "machdep.cpu.brand_string"]
        return SimpleNamespace(stdout="Apple M3\n")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(subprocess, "run", run)
    assert system() == "macOS 14.5 arm64"
    assert processor() == "Apple M3"


def test_macos_without_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(subprocess, "run", run)
    assert processor() == "arm64"


class Key:
    def __enter__(self) -> Key:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(("told", "expected"), [("Intel Core 7 ", "Intel Core 7"), (None, "Fam 6")])
def test_windows(monkeypatch: pytest.MonkeyPatch, told: str | None, expected: str) -> None:
    def query(key: Key, name: str) -> tuple[str, int]:
        assert isinstance(key, Key)
        if told is None:
            raise OSError
        return told, 1

    registry = SimpleNamespace(HKEY_LOCAL_MACHINE=1, OpenKey=lambda *_: Key(), QueryValueEx=query)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platform, "processor", lambda: "Fam 6")
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert processor() == expected


def test_governor(tmp_path: Path) -> None:
    assert governor(tmp_path) is None
    for cpu, name in (("cpu0", "powersave"), ("cpu1", "performance"), ("cpu10", "powersave")):
        (tmp_path / cpu / "cpufreq").mkdir(parents=True)
        (tmp_path / cpu / "cpufreq" / "scaling_governor").write_text(name + "\n")
    assert governor(tmp_path) == "performance, powersave"


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, None),
        (SimpleNamespace(power_plugged=None), None),
        (SimpleNamespace(power_plugged=True), "mains"),
        (SimpleNamespace(power_plugged=False), "battery"),
    ],
)
def test_power(
    monkeypatch: pytest.MonkeyPatch, battery: SimpleNamespace | None, expected: str | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert describe([]).power == expected


def test_packages_that_are_not_installed_are_left_out() -> None:
    assert installed(["numpy", "no-such-package"]) == {"numpy": version("numpy")}
