"""Files leave the page cache, and what stays is told."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

import pytest

from benchmarks.bench.page_cache import drop, resident_bytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="drops files by posix_fadvise")
SIZE = 1_000_001
PAGES = -(-SIZE // mmap.PAGESIZE) * mmap.PAGESIZE


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    probe = tmp_path / "probe"
    probe.write_bytes(b"x" * SIZE)
    if drop([probe]) is False:
        pytest.skip("the temporary folder lies in memory")
    return tmp_path


@linux
def test_read_file_is_resident_and_dropped_one_is_not(disk: Path) -> None:
    (disk / "folder").mkdir()
    path = disk / "folder" / "file"
    path.write_bytes(b"x" * SIZE)
    (disk / "folder" / "empty").touch()
    path.read_bytes()
    assert resident_bytes(path) == PAGES
    assert drop([disk / "folder"]) is True
    assert resident_bytes(path) == 0
    assert resident_bytes(disk / "folder" / "empty") == 0


@linux
def test_mapped_file_stays_and_is_told(disk: Path) -> None:
    path = disk / "file"
    path.write_bytes(b"x" * SIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[i] for i in range(0, SIZE, mmap.PAGESIZE)) > 0
        assert drop([path]) is False
        assert resident_bytes(path) == PAGES
    assert drop([path]) is True


@linux
def test_system_without_the_calls_gives_none(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = disk / "file"
    path.write_bytes(b"x" * SIZE)
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda *_, **__: object())  # a C library without mincore
        assert resident_bytes(path) is None
        assert drop([path]) is None
    monkeypatch.delattr(os, "posix_fadvise")
    assert drop([path]) is None
