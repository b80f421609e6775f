from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import client
from benchmarks.bench.client import Program, Worker, WorkerError, python_worker, signal_name
from tests.benchmarks.bench.fakes import ASK, fake_program


def test_worker_opens_and_draws() -> None:
    with Worker(fake_program(ms=2)) as worker:
        opened = worker.open()
        drawn = worker.draw(ASK)
    assert opened.engine == "fake 1.0"
    assert opened.load_ms > 0  # timed by the worker, not told by the subject
    assert drawn.stages["unet_call"] == [2.0, 2.0, 2.0]
    assert drawn.stages["picture"] == [21.0]


def test_what_a_library_prints_does_not_mix_with_replies() -> None:
    with Worker(fake_program(noisy=1)) as worker:
        assert worker.open().device == "cpu"


def test_an_error_is_one_line_and_the_process_goes_on() -> None:
    with Worker(fake_program(too_large=128)) as worker:
        worker.open()
        with pytest.raises(WorkerError, match=r"^ValueError: 128 is too large$"):
            worker.draw(replace(ASK, height=128))
        assert worker.draw(ASK).stages["sampler"] == [1.0]


def test_a_killed_process_is_told_with_its_signal() -> None:
    with Worker(fake_program(die=2)) as worker:
        worker.open()
        worker.draw(ASK)
        with pytest.raises(WorkerError, match=r"ended by SIGKILL.*memory runs out"):
            worker.draw(ASK)
        with pytest.raises(WorkerError, match="ended by SIGKILL"):
            worker.draw(ASK)


def test_an_ended_process_is_told_with_its_last_words() -> None:
    with Worker(fake_program(exit=1)) as worker:
        worker.open()
        with pytest.raises(WorkerError, match=r"exit status 3: the last words$"):
            worker.draw(ASK)


def test_half_a_reply_is_an_end(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("print('{\"opened', end='')", encoding="utf-8")
    with (
        Worker(Program((sys.executable, str(tmp_path / "half.py")))) as worker,
        pytest.raises(WorkerError, match=r"^its process ended with exit status 0$"),
    ):
        worker.open()


def test_whether_a_process_runs_is_told() -> None:
    with Worker(fake_program(exit=1)) as worker:
        worker.open()
        assert worker.ended() is None
        with pytest.raises(WorkerError):
            worker.draw(ASK)
        assert worker.ended() == "its process ended with exit status 3: the last words"


def test_the_working_folder_does_not_hide_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with (
        Worker(python_worker("benchmarks.bench.worker", ["absent"])) as worker,
        pytest.raises(WorkerError, match="no bundle at"),
    ):
        worker.open()


def test_a_clone_is_found_by_other_processes_and_a_wheel_is_without_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    assert client.environment()["PYTHONPATH"] == f"{client.REPOSITORY}{os.pathsep}/of/the/user"
    monkeypatch.setattr(client, "REPOSITORY", Path("/lib/python3/site-packages"))
    assert client.environment()["PYTHONPATH"] == "/of/the/user"
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in client.environment()


def test_a_signal_without_a_name() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(99) == "signal 99"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(WorkerError, match=r"no-such-program can't be started: No such file"):
        Worker(Program(("/no-such-program",)))


def test_an_interrupt_ends_a_process_that_does_not_answer() -> None:
    pids: list[int] = []

    def interrupted() -> None:
        with Worker(fake_program(block=1)) as worker:
            pids.append(worker.pid)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            worker.open()

    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGALRM, previous)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
