"""A component's conversion in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exporter.coreml import worker
from exporter.coreml.job import Job
from exporter.coreml.worker import Told, convert
from exporter.errors import CompileError, StoppedError
from exporter.memory import MemoryLimitError
from runtimes.manifest import Component

Stand = Callable[[str], None]
Named = Callable[[str], Path]
ENTRY = Component(graphs={}, weight_map="unet/weight_map.json")


def job(bundle: Path = Path("b"), folder: Path = Path("out"), **other: object) -> Job:
    """One of the U-Net."""
    fields: dict[str, object] = {
        **{"bundle": str(bundle), "component": "unet", "folder": str(folder)},
        **{"precision": "fp16", "arithmetic": None, "deployment_target": "iOS17"},
        **{"attention": "original", "compression": None, "sizes": ((64, 64),), "batch": 2},
        **{"unet_batch": 2, "chunked": False, "max_memory": None},
    }
    return msgspec.convert(fields | other, Job)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    """Puts a shell script in Python's place."""

    def put(text: str) -> None:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return put


def told(**fields: object) -> str:
    return msgspec.json.encode(Told(**fields)).decode()  # pyright: ignore[reportArgumentType]


def test_it_gets_the_job_and_tells_what_became_of_it(stand_in: Stand, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    answer = told(entry=ENTRY, peak_rss=123)
    stand_in(f"cat > '{seen}'\necho \"$@\" > '{seen}.args'\nprintf %s '{answer}'")
    assert convert(job()) == (ENTRY, 123)
    assert msgspec.json.decode(seen.read_bytes(), type=Job) == job()
    assert (tmp_path / "seen.args").read_text() == "-m exporter.coreml.worker\n"


@pytest.mark.parametrize(("over", "kind"), [(False, CompileError), (True, MemoryLimitError)])
def test_what_it_refuses_is_refused(stand_in: Stand, *, over: bool, kind: type[Exception]) -> None:
    stand_in(f"cat > /dev/null\nprintf %s '{told(error='too large', over_limit=over)}'")
    with pytest.raises(kind, match=r"^too large$"):
        convert(job())


def test_a_fall_is_one_line_with_the_last_of_its_complaints(stand_in: Stand) -> None:
    stand_in("cat > /dev/null\necho Traceback >&2\necho 'ValueError: no' >&2\nexit 3")
    with pytest.raises(CompileError, match=r"^unet: .* ended with code 3: ValueError: no\.$"):
        convert(job())


def test_a_kill_is_told_as_such(stand_in: Stand) -> None:
    stand_in("cat > /dev/null\nkill -9 $$")
    with pytest.raises(StoppedError, match=r"^unet: .* killed by signal 9; .* memory\?$"):
        convert(job())


def test_an_interruption_leaves_no_process(
    stand_in: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = tmp_path / "pid"
    stand_in(f"echo $$ > '{at}'\nexec sleep 600")

    def interrupted(self: object, sent: bytes) -> tuple[bytes, bytes]:
        while not (at.exists() and at.read_text().endswith("\n")):
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(worker.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(job())
    with pytest.raises(ProcessLookupError):
        os.kill(int(at.read_text()), 0)


@pytest.mark.slow
def test_it_converts(portable: Named, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    entry, peak = convert(job(portable("tiny-sd15"), tmp_path))
    assert peak is None or peak > 10**8
    (file,) = (graph.file for graph in entry.graphs.values())
    assert (tmp_path / file).is_file()


def test_it_keeps_to_its_memory_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(job: Job) -> None:
        while True:
            time.sleep(0.001)

    monkeypatch.setattr(worker, "make", work)
    found = worker._done(job(max_memory=10**6))  # pyright: ignore[reportPrivateUsage]
    assert (found.over_limit, found.entry) == (True, None)
    assert found.error is not None
    assert found.error.startswith("unet: capture took ")


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Job) -> Component:
        raise CompileError(f"no {job.component}")

    monkeypatch.setattr(worker, "make", fail)
    found = worker._done(job())  # pyright: ignore[reportPrivateUsage]
    assert found == Told(error="no unet")


@pytest.mark.slow
def test_it_keeps_to_its_memory(portable: Named, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(MemoryLimitError, match=r"^unet: capture took .* allows 0\.20 GB"):
        convert(job(portable("tiny-sd15"), tmp_path, max_memory=200_000_000))
