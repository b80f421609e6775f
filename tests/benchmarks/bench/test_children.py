"""Memory and processor time of child processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench.children import OwnMemory, cpu_seconds

SIZE = 64 * 2**20
_CHILD = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(mapped[::4096])
own = b"x" * (len(mapped) if sys.argv[2] == "own" else 1)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells pages of files apart")
def test_pages_of_mapped_files_are_not_a_process_own(tmp_path: Path) -> None:
    file = tmp_path / "mapped"
    with file.open("wb") as made:
        made.truncate(SIZE)
    mapped, own = _peak(file, "mapped"), _peak(file, "own")
    assert 0 < mapped < SIZE < own


def _peak(file: Path, what: str) -> int:
    command = [sys.executable, "-S", "-c", _CHILD, str(file), what]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        seen = OwnMemory()
        with seen:
            while seen.peak is None:
                assert child.poll() is None
        child.stdin.write("\n")
    assert seen.peak is not None
    return seen.peak


def test_processor_time_is_that_of_children_that_have_ended() -> None:
    before = cpu_seconds()
    subprocess.run([sys.executable, "-S", "-c", "sum(range(3_000_000))"], check=True)
    assert cpu_seconds() > before
