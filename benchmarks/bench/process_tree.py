"""A process and all that descend from it: which they are, and what memory each of them has."""

from __future__ import annotations

import sys
from typing import NamedTuple, Protocol

from runtimes.errors import LatedgeError


class SamplerError(LatedgeError):
    """A process's memory can't be sampled: it is not there, or sampling itself failed."""


class Reading(NamedTuple):
    """A process's memory, bytes.

    Attributes:
        pid: whose.
        rss: resident now.
        high_water: most that was resident since the process began or since the last reset that the
            system took; None where it counts none.
    """

    pid: int
    rss: int
    high_water: int | None


class ProcessTree(Protocol):
    """A process and its descendants. One that was once found stays, even when its parent ends."""

    def readings(self) -> list[Reading]:
        """Memory of those that live. Those that ended are forgotten, new ones are found."""
        ...

    def reset_high_water(self) -> bool:
        """Sets each process's high-water mark to what is resident now; whether all could be."""
        ...

    def pss(self) -> int | None:
        """Sum of the proportional set sizes, bytes; None where the system or a right is missing."""
        ...

    def pids(self) -> set[int]:
        """Those found at the last reading."""
        ...

    def close(self) -> None:
        """Lets go of what the system holds open."""
        ...


def open_tree(pid: int) -> ProcessTree:
    """The tree of a process, by this system's means.

    Raises:
        SamplerError: there is no such process, or it has ended.
    """
    if sys.platform == "linux":
        from benchmarks.bench.linux_tree import LinuxTree

        return LinuxTree(pid)
    from benchmarks.bench.psutil_tree import PsutilTree

    return PsutilTree(pid)
