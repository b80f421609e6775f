"""Process trees: who belongs to one, and what is done about those that end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.bench import psutil_tree
from benchmarks.bench.linux_tree import LinuxTree
from benchmarks.bench.process_tree import SamplerError, open_tree
from benchmarks.bench.psutil_tree import PsutilTree

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PROGRAM = """
import subprocess, sys, threading
children = []
def begin():
    pipe = subprocess.PIPE
    children.append(subprocess.Popen(sys.orig_argv, stdin=pipe, stdout=pipe, text=True))
for line in sys.stdin:
    verb = line.strip()
    if verb == "child":  # begun by a thread, under which the kernel lists it
        threading.Thread(target=begin).start()
        while not children:
            pass
        print(children[0].pid, flush=True)
    elif verb == "grandchild":
        print("child", file=children[0].stdin, flush=True)
        print(children[0].stdout.readline(), end="", flush=True)
    elif verb == "end":
        break
    elif verb == "end child":
        children[0].communicate("end")
        print(0, flush=True)
    elif verb == "leave":  # its children are init's from here on
        import os
        os._exit(0)
"""


class Program:
    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", PROGRAM]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.pid = self.process.pid

    def ask(self, verb: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(verb + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.process.kill()
    made.process.communicate()


def scanning(pid: int) -> LinuxTree:
    """A tree as on a kernel that lists no children of a thread."""
    tree = LinuxTree(pid)
    tree._lists_children = False  # pyright: ignore[reportPrivateUsage]
    return tree


def unhurried(pid: int) -> PsutilTree:
    psutil_tree.SEARCH_SHARE = 1e9
    return PsutilTree(pid)


@pytest.fixture(autouse=True)
def search_share() -> Iterator[None]:
    before = psutil_tree.SEARCH_SHARE
    yield
    psutil_tree.SEARCH_SHARE = before


TREES = [
    pytest.param(LinuxTree, marks=linux, id="proc"),
    pytest.param(scanning, marks=linux, id="proc without children"),
    pytest.param(unhurried, id="psutil"),
]


@pytest.mark.parametrize("make", TREES)
def test_descendants_are_found_and_forgotten(
    program: Program, make: Callable[[int], LinuxTree | PsutilTree]
) -> None:
    tree = make(program.pid)
    assert {r.pid for r in tree.readings()} == {program.pid}
    child = program.ask("child")
    assert {r.pid for r in tree.readings()} == {program.pid, child}
    grandchild = program.ask("grandchild")
    readings = tree.readings()
    assert {r.pid for r in readings} == tree.pids() == {program.pid, child, grandchild}
    assert all(r.rss > 0 for r in readings)  # the last one has hardly begun
    program.ask("end child")
    assert {r.pid for r in tree.readings()} <= {program.pid, grandchild}
    tree.close()


@linux
def test_orphan_stays_in_the_tree(program: Program) -> None:
    tree = LinuxTree(program.pid)
    child = program.ask("child")
    tree.readings()
    assert program.process.stdin is not None
    # The child's input closes with its parent, so hold it back by a stop until it was seen.
    psutil.Process(child).suspend()
    program.process.stdin.write("leave\n")
    program.process.stdin.flush()
    program.process.wait()
    assert {r.pid for r in tree.readings()} == {child}
    psutil.Process(child).resume()
    tree.close()


@linux
def test_figures_are_the_kernels(program: Program) -> None:
    tree = LinuxTree(program.pid)
    program.ask("child")
    readings = {r.pid: r for r in tree.readings()}
    for pid in readings:
        told = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        # Between the two looks the kernel may take pages back where memory is short.
        rss = int(told["VmRSS"].split()[0]) * 1024
        assert abs(readings[pid].rss - rss) < 0.02 * rss
        assert readings[pid].high_water == int(told["VmHWM"].split()[0]) * 1024
    expected = sum(psutil.Process(pid).memory_full_info().pss for pid in readings)
    pss = tree.pss()
    assert pss is not None
    assert abs(pss - expected) < 0.01 * expected
    tree.close()


@linux
def test_files_are_let_go(program: Program) -> None:
    program.ask("child")
    before = len(os.listdir("/proc/self/fd"))
    tree = LinuxTree(program.pid)
    tree.readings()
    assert len(os.listdir("/proc/self/fd")) > before
    tree.close()
    tree.close()
    assert len(os.listdir("/proc/self/fd")) == before


@linux
def test_number_used_again_is_another_process(tmp_path: Path) -> None:
    """A folder that takes the place of the first one stands for the kernel's reuse of a number."""
    (tmp_path / "loadavg").write_text("0 0 0 1/9 77\n")
    (tmp_path / "77" / "task" / "77").mkdir(parents=True)
    (tmp_path / "77" / "status").write_text("Name:\tx\nVmHWM:\t 30 kB\nVmRSS:\t 20 kB\n")
    tree = LinuxTree(77, proc=tmp_path)
    assert tree.readings() == [(77, 20 * 1024, 30 * 1024)]
    (tmp_path / "77").rename(tmp_path / "ended")
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "status").write_text("Name:\ty\nVmHWM:\t 9000 kB\nVmRSS:\t 9000 kB\n")
    assert tree.readings() == [(77, 20 * 1024, 30 * 1024)]
    (tmp_path / "ended" / "status").write_text("Name:\tx\nState:\tZ (zombie)\n")
    assert tree.readings() == []
    tree.close()


@linux
def test_refused_rights_give_none(tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text("0 0 0 1/9 77\n")
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "status").write_text("Name:\tx\nVmRSS:\t 20 kB\n")
    (tmp_path / "77" / "smaps_rollup").mkdir()  # can't be read by anybody
    (tmp_path / "77" / "clear_refs").mkdir()
    tree = LinuxTree(77, proc=tmp_path)
    assert tree.readings() == [(77, 20 * 1024, None)]
    assert tree.pss() is None
    assert not tree.reset_high_water()
    tree.close()


@pytest.mark.parametrize("make", [*TREES, open_tree])
def test_absent_process_is_refused(make: Callable[[int], object]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(
        SamplerError, match=f"process {ended.pid} can't be sampled: .*while it runs"
    ):
        make(ended.pid)


@linux
def test_zombie_is_refused() -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with pytest.raises(SamplerError, match="it has ended"):
        LinuxTree(zombie.pid)
    zombie.wait()
