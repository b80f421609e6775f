"""Keeps this process to a limit of memory: work that exceeds it ends in one clear line.

A thread reads the resident set every 20 ms and interrupts the work where it is above the limit. The
interruption arrives between two steps of Python: within one call of a library, such as loading a
graph into an engine, the limit is noticed when that returns. What such calls need is foreseen in
`exporter.needs`, before they begin.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from exporter.phases import observed
from runtimes.errors import LatedgeError, UsageError
from runtimes.process_memory import rss_bytes

INTERVAL_S = 0.02
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)")


class MemoryLimitError(LatedgeError):
    """The work needs more memory than it may take."""


class _ReachedError(BaseException):
    """Interrupts the work as Ctrl-C does; libraries that catch every Exception let it through."""


def read_size(text: str) -> int:
    """Bytes of a size such as "4GB" (10⁹ bytes each) or "512 MiB" (2²⁰).

    Raises:
        UsageError: it is no such size, or zero.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size <= 0:
        raise UsageError(
            f"{text!r} is no size of memory; give a number above 0 and a unit, such as 4GB: units "
            f"are {', '.join(_UNITS)}."
        )
    return size


def gigabytes(size: int) -> str:
    """A size for people: 10⁹ bytes each."""
    return f"{size / 1e9:.2f} GB"


@contextmanager
def limited(limit: int | None, resident: Callable[[], int | None] = rss_bytes) -> Generator[None]:
    """Ends the block when this process holds more than a limit.

    Args:
        limit: bytes; None sets none.
        resident: gives the bytes that the process holds.

    Raises:
        MemoryLimitError: says what was being done and how much it took. What the block wrote is
            left as after Ctrl-C.
        UsageError: this system doesn't tell what a process holds.
    """
    if limit is None:
        yield
        return
    if resident() is None:
        raise UsageError(
            "--max-memory can't be kept to on this system, which doesn't tell what a process "
            "holds; leave it out."
        )
    watch = _Watch(limit, resident)
    try:
        with observed(watch.begin), watch:
            yield
            watch.check()
    except _ReachedError as e:
        notes = " ".join(getattr(e, "__notes__", ()))
        raise MemoryLimitError(f"{watch.told()} {notes}".strip()) from None


class _Watch:
    """Looks at one thread's work, and interrupts it once."""

    def __init__(self, limit: int, resident: Callable[[], int | None]) -> None:
        self._limit, self._resident = limit, resident
        self._at = ("", "")
        self._reached: tuple[int, str, str] | None = None
        self._over = threading.Event()
        self._worker = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="memory limit", daemon=True)

    def begin(self, component: str, phase: str) -> None:
        """A phase begins; a library may have kept an interruption to itself."""
        self.check()
        self._at = (component, phase)

    def check(self) -> None:
        """Interrupts the work where the limit was exceeded.

        Raises:
            _ReachedError: it was.
        """
        if self._reached is not None:
            raise _ReachedError

    def told(self) -> str:
        """What was exceeded, where and by how much."""
        assert self._reached is not None
        size, component, phase = self._reached
        where = f"{component}: {phase}" if component else "reading the source"
        return (
            f"{where} took {gigabytes(size)} of memory where --max-memory allows "
            f"{gigabytes(self._limit)}; give it more."
        )

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_S):
            size = self._resident() or 0
            if size > self._limit:
                component, phase = self._at
                self._reached = (size, component, phase)
                self._interrupt(_ReachedError)
                return

    def _interrupt(self, error: type[BaseException] | None) -> None:
        target = ctypes.c_ulong(self._worker)
        given = None if error is None else ctypes.py_object(error)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, given)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._interrupt(None)  # one that has not arrived must not arrive in what follows
