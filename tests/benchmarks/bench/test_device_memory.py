"""GPU memory against a stand-in of NVML."""

# ruff: noqa: N802 -- the names are NVML's

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from benchmarks.bench.device_memory import open_device_memory
from benchmarks.bench.machine import describe


class NVMLError(Exception):
    pass


@dataclass
class Nvml:
    """Stands for `pynvml`. Processes by device: number → bytes, None where the driver hides it."""

    computing: list[dict[int, int | None]]
    drawing: list[dict[int, int | None]]
    broken: bool = False
    shut: int = 0
    NVMLError: type[Exception] = field(default=NVMLError)

    def nvmlInit(self) -> None:
        if self.broken:
            raise NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.shut += 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.computing)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"GPU {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=(handle + 1) * 8 * 2**30)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return self._listed(self.computing[handle])

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        if not self.drawing:
            raise NVMLError("Not Supported")
        return self._listed(self.drawing[handle])

    def _listed(self, used: dict[int, int | None]) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in used.items()]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml(computing=[{10: 100, 11: 30, 99: 7000}, {10: 1000}], drawing=[{10: 120}, {}])
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_own_processes_are_added_over_devices_and_count_once_each(nvml: Nvml) -> None:
    found, note = open_device_memory()
    assert found is not None
    assert note is None
    assert found.used_bytes({10, 11}) == 120 + 30 + 1000
    assert found.used_bytes({11}) == 30
    found.close()
    assert nvml.shut == 1


def test_processes_that_are_not_listed_have_no_figure(nvml: Nvml) -> None:
    found, _ = open_device_memory()
    assert found is not None
    assert found.used_bytes({12}) is None
    nvml.computing = [{12: None}, {}]
    assert found.used_bytes({12}) is None
    nvml.drawing = []
    nvml.computing = [{12: 5}, {}]
    assert found.used_bytes({12}) == 5


def test_devices_are_described(nvml: Nvml) -> None:
    assert describe().devices == ("GPU 0, 8 GiB, driver 580.1", "GPU 1, 16 GiB, driver 580.1")
    assert nvml.shut == 1


def test_absent_driver_is_told(nvml: Nvml) -> None:
    nvml.broken = True
    found, note = open_device_memory()
    assert found is None
    assert note == "GPU memory: no NVIDIA driver that answers (Driver Not Loaded)"
    assert describe().devices == ()


def test_absent_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found, note = open_device_memory()
    assert found is None
    assert note is not None
    assert "pip install 'latedge[bench]'" in note
