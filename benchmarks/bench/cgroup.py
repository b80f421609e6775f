"""Limits that a container sets to its processes: processor time and memory (Linux cgroups)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED_BYTES = 1 << 60
"""Version 1 writes "no limit" as the largest whole number of pages."""


@dataclass(frozen=True)
class Limits:
    """The tightest of the process's own group and those around it.

    Attributes:
        cores: processor time by time, such as 1.5; None for no limit.
        memory_bytes: None for no limit.
    """

    cores: float | None
    memory_bytes: int | None


def read_limits(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Limits:
    """The limits of this process, of either version of cgroups or both; none where there are none.

    Args:
        groups: lists the groups, a line each: "number:controllers:/path".
        root: where their file systems are mounted.
    """
    cores = [limit for folder in _folders(groups, root, "cpu") for limit in _cores(folder)]
    memory = [limit for folder in _folders(groups, root, "memory") for limit in _memory(folder)]
    return Limits(min(cores, default=None), min(memory, default=None))


def _folders(groups: Path, root: Path, controller: str) -> Iterator[Path]:
    """The group's folder and those around it, of each hierarchy that has the controller."""
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases = [root, root / "unified"]
        elif controller in controllers.split(","):
            bases = [root / controllers, root / controller]
        else:
            continue
        inner = Path(path.lstrip("/"))
        # In a container the path is often the host's and not to be seen here: then the mount itself
        # is the group.
        yield from (base / part for base in bases for part in (inner, *inner.parents))


def _cores(folder: Path) -> Iterator[float]:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal():  # "max" and -1 are no limit
        yield int(quota) / int(period)


def _memory(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = _text(folder / name)
        if limit.isdecimal() and int(limit) < UNLIMITED_BYTES:
            yield int(limit)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
