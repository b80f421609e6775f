"""What the operating system tells of this process's memory, and what is asked of it."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def peak_rss_bytes() -> int | None:
    """The most memory that this process has held so far; None where the system doesn't tell.

    Never set back: the mark is the whole process's, and others may be reading it.
    """
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        # getrusage's mark outlives exec: begun by a larger process, it tells that one's peak.
        told = _status_bytes("VmHWM")
        if told is not None:
            return told
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss_bytes() -> int | None:
    """The memory that this process holds; None where the system doesn't tell.

    Where it tells the largest alone (macOS) that is given: it is never less.
    """
    if sys.platform == "linux":
        told = _status_bytes("VmRSS")
        if told is not None:
            return told
    return peak_rss_bytes()


def installed_memory_bytes() -> int | None:
    """The memory that this machine has; None where the system doesn't tell."""
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _status_bytes(name: str) -> int | None:
    """A line such as "VmHWM:   1672 kB"; some containers' kernels leave it out."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if line.startswith(f"{name}:")]
    return int(fields[0][1]) * 1024 if fields else None


def return_freed_memory() -> None:
    """Gives the system what was freed but is kept for later by C's allocator.

    Only glibc keeps much of it; elsewhere this does nothing. Measured on SD 1.5: once its text
    encoder was closed in ONNX Runtime, 338 MB stayed resident without this, of 367 in use.
    OpenVINO gave all back by itself.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any | None:
    if sys.platform != "linux":
        return None
    # musl's C library lacks it.
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
