"""Memory on NVIDIA GPUs, by the driver's own library (NVML)."""

from __future__ import annotations

from typing import Any


class DeviceMemory:
    """Memory that processes have on all GPUs of the machine.

    Args:
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        count: int = nvml.nvmlDeviceGetCount()
        self._handles: list[Any] = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]

    def names(self) -> tuple[str, ...]:
        """Each GPU with its memory and driver."""
        driver = self._nvml.nvmlSystemGetDriverVersion()
        return tuple(self._name(handle, driver) for handle in self._handles)

    def used_bytes(self, pids: set[int]) -> int | None:
        """What these processes have in use, bytes.

        None where NVML lists none of them: they use no GPU, or the list has other numbers than this
        system (in a container), or hides the sizes (Windows with the driver model of displays).
        """
        found = [self._on_device(handle, pids) for handle in self._handles]
        sizes = [size for size in found if size is not None]
        return sum(sizes) if sizes else None

    def close(self) -> None:
        """Lets go of the driver's library."""
        self._nvml.nvmlShutdown()

    def _name(self, handle: Any, driver: str) -> str:
        name = self._nvml.nvmlDeviceGetName(handle)
        total = self._nvml.nvmlDeviceGetMemoryInfo(handle).total
        return f"{name}, {total / 2**30:.0f} GiB, driver {driver}"

    def _on_device(self, handle: Any, pids: set[int]) -> int | None:
        """The largest entry of each process: one that computes and draws is listed twice."""
        used: dict[int, int] = {}
        for listing in (
            self._nvml.nvmlDeviceGetComputeRunningProcesses,
            self._nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            try:
                listed: list[Any] = listing(handle)
            except self._nvml.NVMLError:
                continue  # a GPU without this kind of processes
            for entry in listed:
                if entry.pid in pids and entry.usedGpuMemory is not None:
                    used[entry.pid] = max(used.get(entry.pid, 0), entry.usedGpuMemory)
        return sum(used.values()) if used else None


def open_device_memory() -> tuple[DeviceMemory | None, str | None]:
    """NVML, where there is one.

    Returns:
        The meter, or None and why there is none.
    """
    try:
        import pynvml
    except ModuleNotFoundError:
        return None, "GPU memory: pynvml is not installed; pip install 'latedge[bench]'"
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
        return DeviceMemory(nvml), None
    except nvml.NVMLError as e:
        return None, f"GPU memory: no NVIDIA driver that answers ({e})"
