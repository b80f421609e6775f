"""What the system tells of this process's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtimes import process_memory
from runtimes.process_memory import peak_rss_bytes, return_freed_memory


def test_peak_is_in_bytes() -> None:
    held = np.ones(50_000_000, np.uint8)
    assert held.size < (peak_rss_bytes() or 0) < 2**40


def test_peak_stays_when_memory_is_freed() -> None:
    code = """
import numpy as np
from runtimes.process_memory import peak_rss_bytes
held = np.ones(400_000_000, np.uint8)
del held
print(peak_rss_bytes())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert 400_000_000 < int(told.stdout) < 800_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark is getrusage's")
def test_peak_is_not_that_of_the_process_before() -> None:
    held = np.ones(400_000_000, np.uint8)
    code = "from runtimes.process_memory import peak_rss_bytes; print(peak_rss_bytes())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(told.stdout) < held.size


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
@pytest.mark.parametrize("status", [None, "Name:\tpython\n"])
def test_peak_where_the_kernel_keeps_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    if status is not None:
        (tmp_path / "status").write_text(status, encoding="ascii")
    monkeypatch.setattr(process_memory, "_STATUS", tmp_path / "status")
    assert 20_000_000 < (peak_rss_bytes() or 0) < 2**40


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps much of what is freed")
def test_freed_memory_goes_back_to_the_system() -> None:
    # Blocks below glibc's threshold for mmap lie on the heap, which one block above them holds up.
    code = """
import ctypes, re
from runtimes.process_memory import return_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def rss():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
blocks = [libc.malloc(100_000) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
top = libc.malloc(100_000)
full = rss()
for block in blocks:
    libc.free(block)
kept = rss()
return_freed_memory()
print(full, kept, rss())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    full, kept, trimmed = map(int, told.stdout.split())
    assert full - kept < 100_000  # KiB: glibc keeps most of the 195,000
    assert full - trimmed > 180_000


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    process_memory._malloc_trim.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(sys, "platform", "darwin")
    try:
        return_freed_memory()
        assert process_memory._malloc_trim() is None  # pyright: ignore[reportPrivateUsage]
    finally:
        process_memory._malloc_trim.cache_clear()  # pyright: ignore[reportPrivateUsage]
