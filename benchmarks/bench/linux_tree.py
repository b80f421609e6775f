"""A process and its descendants by Linux's /proc, read directly: 7 µs a process and reading."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench.process_tree import Reading, SamplerError

DISCOVERY_EVERY = 10
"""Readings between two searches for new processes although the system seems to have begun none."""

STATUS_BYTES = 8192


class _Member:
    """A process of Linux, held by its folder in /proc.

    What is opened through the folder's descriptor belongs to this process even when another gets
    its number: once it has ended, every read fails.
    """

    def __init__(self, pid: int, proc: Path) -> None:
        self.pid = pid
        self._folder = os.open(proc / str(pid), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._status = os.open("status", os.O_RDONLY, dir_fd=self._folder)
        except OSError:
            os.close(self._folder)
            raise

    def reading(self) -> Reading | None:
        """None when it has ended; a zombie has no memory, and its status no such lines."""
        try:
            told = os.pread(self._status, STATUS_BYTES, 0)
        except OSError:
            return None
        rss = _status_bytes(told, b"\nVmRSS:")
        if rss is None:
            return None
        return Reading(self.pid, rss, _status_bytes(told, b"\nVmHWM:"))

    def children(self) -> Iterator[int]:
        """Of every thread: a child is listed under the thread that began it."""
        try:
            tasks = os.open("task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._folder)
        except OSError:
            return
        try:
            for thread in os.listdir(tasks):
                yield from map(int, _read_at(tasks, f"{thread}/children").split())
        except OSError:
            return
        finally:
            os.close(tasks)

    def read(self, name: str) -> bytes:
        """A file of its folder; raises OSError."""
        file = os.open(name, os.O_RDONLY, dir_fd=self._folder)
        try:
            return os.read(file, STATUS_BYTES)
        finally:
            os.close(file)

    def reset_high_water(self) -> None:
        """Writes 5 to clear_refs (proc_pid_clear_refs(5)); raises OSError."""
        file = os.open("clear_refs", os.O_WRONLY, dir_fd=self._folder)
        try:
            os.write(file, b"5")
        finally:
            os.close(file)

    def close(self) -> None:
        os.close(self._status)
        os.close(self._folder)


def _status_bytes(status: bytes, name: bytes) -> int | None:
    """A line such as "VmRSS: 1672 kB"; searched by hand, since this runs for every sample."""
    at = status.find(name)
    if at < 0:
        return None
    return int(status[at + len(name) : status.index(b" kB", at)]) * 1024


def _read_at(folder: int, name: str) -> bytes:
    """A whole file; b"" when its thread ended meanwhile."""
    try:
        file = os.open(name, os.O_RDONLY, dir_fd=folder)
    except OSError:
        return b""
    with open(file, "rb") as opened:
        try:
            return opened.read()
        except OSError:
            return b""


class LinuxTree:
    """A tree of processes by /proc.

    Children are searched for when the number of the system's youngest process has changed
    (/proc/loadavg tells it for 1 µs), which is when any process or thread has begun. One that
    begins and ends between two readings is not seen, and neither is the child of such a one.

    Args:
        pid: the first process.
        proc: the folder of the process file system.

    Raises:
        SamplerError: there is no such process, or it has ended.
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._lists_children = (proc / f"self/task/{os.getpid()}/children").exists()
        self._members: dict[int, _Member] = {}
        self._loadavg = os.open(proc / "loadavg", os.O_RDONLY)
        self._youngest = b""
        self._since_discovery = 0
        if not self._add(pid) or self._members[pid].reading() is None:
            self.close()
            raise SamplerError(
                f"memory of process {pid} can't be sampled: there is no such process, or it has "
                "ended. Start sampling while it runs."
            )

    def readings(self) -> list[Reading]:
        """See `ProcessTree.readings`."""
        self._discover_if_changed()
        found: list[Reading] = []
        for member in list(self._members.values()):
            reading = member.reading()
            if reading is None:
                self._members.pop(member.pid).close()
            else:
                found.append(reading)
        return found

    def reset_high_water(self) -> bool:
        """See `ProcessTree.reset_high_water`."""
        whole = True
        for member in self._members.values():
            try:
                member.reset_high_water()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            except OSError:
                whole = False
        return whole

    def pss(self) -> int | None:
        """See `ProcessTree.pss`."""
        total = 0
        for member in self._members.values():
            try:
                told = re.search(rb"^Pss:\s+(\d+) kB", member.read("smaps_rollup"), re.MULTILINE)
            except ProcessLookupError:
                continue  # it has ended
            except OSError:
                return None
            total += int(told[1]) * 1024 if told else 0
        return total or None

    def pids(self) -> set[int]:
        """See `ProcessTree.pids`."""
        return set(self._members)

    def close(self) -> None:
        """See `ProcessTree.close`; a second time does nothing."""
        while self._members:
            self._members.popitem()[1].close()
        if self._loadavg >= 0:
            os.close(self._loadavg)
            self._loadavg = -1

    def _add(self, pid: int) -> bool:
        if pid in self._members:
            return False
        try:
            self._members[pid] = _Member(pid, self._proc)
        except OSError:
            return False  # it has ended, or this user may not look
        return True

    def _discover_if_changed(self) -> None:
        youngest = os.pread(self._loadavg, 128, 0).rpartition(b" ")[2]
        self._since_discovery += 1
        if youngest != self._youngest or self._since_discovery >= DISCOVERY_EVERY:
            self._youngest, self._since_discovery = youngest, 0
            self._discover()

    def _discover(self) -> None:
        by_parent = {} if self._lists_children else _children_by_parent(self._proc)
        waiting = list(self._members.values())
        while waiting:
            member = waiting.pop()
            listed = member.children() if self._lists_children else by_parent.get(member.pid, ())
            waiting += [self._members[pid] for pid in list(listed) if self._add(pid)]


def _children_by_parent(proc: Path) -> dict[int, list[int]]:
    """Of all processes, for kernels without CONFIG_PROC_CHILDREN; 5 µs for each that there is."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            told = (proc / name / "stat").read_bytes()
        except OSError:
            continue
        # The second field is the program's name in parentheses, which may hold any characters.
        found.setdefault(int(told.rpartition(b")")[2].split()[1]), []).append(int(name))
    return found
