"""A process and its descendants by psutil, for macOS and Windows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from benchmarks.bench.process_tree import Reading, SamplerError

SEARCH_SHARE = 0.05
"""Most of the time that searching for children takes with psutil, where it costs milliseconds."""


class PsutilTree:
    """A tree of processes by psutil.

    psutil knows a process by number and time of its start, so that a number used again is another
    process. Windows alone counts a high-water mark, which can't be reset.

    Raises:
        SamplerError: there is no such process, or it has ended.
    """

    def __init__(self, pid: int) -> None:
        import psutil

        self._psutil: Any = psutil
        self._next_search = 0.0
        try:
            self._members = {pid: psutil.Process(pid)}
        except psutil.Error as e:
            raise SamplerError(
                f"memory of process {pid} can't be sampled: {e}. Start sampling while it runs."
            ) from e

    def readings(self) -> list[Reading]:
        """See `ProcessTree.readings`."""
        if time.perf_counter() >= self._next_search:
            self._search()
        found = {pid: self._reading(process) for pid, process in self._members.items()}
        self._members = {pid: p for pid, p in self._members.items() if found[pid] is not None}
        return [reading for reading in found.values() if reading is not None]

    def reset_high_water(self) -> bool:
        """See `ProcessTree.reset_high_water`: no."""
        return False

    def pss(self) -> int | None:
        """See `ProcessTree.pss`: not known."""
        return None

    def pids(self) -> set[int]:
        """See `ProcessTree.pids`."""
        return set(self._members)

    def close(self) -> None:
        """See `ProcessTree.close`: nothing is held."""

    def _reading(self, process: Any) -> Reading | None:
        try:
            told = process.memory_info()
        except self._psutil.Error:
            return None  # it has ended, or this user may not look
        return (
            Reading(process.pid, told.rss, getattr(told, "peak_wset", None)) if told.rss else None
        )

    def _search(self) -> None:
        began = time.perf_counter()
        for process in list(self._members.values()):
            self._members |= {p.pid: p for p in self._new_children(process)}
        now = time.perf_counter()
        self._next_search = now + (now - began) / SEARCH_SHARE

    def _new_children(self, process: Any) -> Iterable[Any]:
        try:
            children = process.children(recursive=True)
        except self._psutil.Error:
            return ()
        return [child for child in children if child.pid not in self._members]
