"""Processes that this one starts: the time that they took, and the memory that is their own."""

from __future__ import annotations

import threading
from typing import Any, Self

INTERVAL_S = 0.02
"""Between two samples; each costs some 100 µs."""


def cpu_seconds() -> float:
    """Processor time of all children that have ended and were waited for."""
    import psutil

    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


class OwnMemory:
    """Samples the children's memory that no file stands for.

    Attributes:
        peak: bytes of all children together, at most; None until a sample was told.
    """

    def __init__(self) -> None:
        """Begins with nothing seen."""
        import psutil

        self.peak: int | None = None
        self._over = threading.Event()
        self._parent: Any = psutil.Process()
        self._thread = threading.Thread(target=self._run, name="own memory", daemon=True)

    def __enter__(self) -> Self:
        """Begins to sample."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends sampling."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_S):
            told = [_own_bytes(child) for child in self._parent.children()]
            known = [size for size in told if size is not None]
            if known:
                self.peak = max(self.peak or 0, sum(known))


def _own_bytes(child: Any) -> int | None:
    """Resident bytes but for pages of files; None where it has ended or the system doesn't tell."""
    import psutil

    try:
        told = child.memory_info()
    except psutil.Error:
        return None
    shared = getattr(told, "shared", None)
    return None if shared is None else int(told.rss - shared)
