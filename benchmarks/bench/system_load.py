"""Who uses the processors: the system's own counters, beside those of given processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class ProcessorTime(NamedTuple):
    """Seconds of all cores together since the system began.

    Attributes:
        total: all of it.
        busy: in which a process or the kernel ran.
        stolen: in which a hypervisor ran something else though there was work here; Linux alone.
    """

    total: float
    busy: float
    stolen: float


def processor_time() -> ProcessorTime:
    """As of now. Linux counts it in ticks of 10 ms: compare over half a second or more."""
    import psutil

    times: Any = psutil.cpu_times()
    fields: dict[str, float] = times._asdict()
    # Linux counts a guest's time in `user` as well.
    total = sum(value for name, value in fields.items() if not name.startswith("guest"))
    stolen = fields.get("steal", 0.0)
    idle = fields["idle"] + fields.get("iowait", 0.0)
    return ProcessorTime(total, total - idle - stolen, stolen)


def own_seconds(pids: Iterable[int]) -> float:
    """Seconds of processor time that processes took, with those of their children that ended.

    Of a child that has ended the time is its parent's once that has waited for it, so a sum over a
    tree goes on evenly. Processes that are gone count nothing.
    """
    import psutil

    total = 0.0
    for pid in pids:
        try:
            times: Any = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def load_average() -> float | None:
    """Of the last minute; None where the system has none (Windows)."""
    import os

    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
