"""Runs a program to its end: what it prints goes to a log, and nothing of it outlives a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtimes.errors import LatedgeError


def run_logged(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str],
    *,
    folder: Path,
    timeout_s: float | None = None,
    started: Callable[[int], None] | None = None,
) -> str:
    """Runs a program and gives what it printed.

    The program gets a process group of its own, which is killed when it takes too long, and when
    the caller is interrupted: pip's compilers and torch's workers end with it.

    Args:
        command: the program and its arguments.
        log: file that its command line and output are added to.
        variables: of the environment, beside the present ones.
        folder: in which it runs.
        timeout_s: how long it may take; None for as long as it likes.
        started: told the process id once it runs.

    Raises:
        LatedgeError: it can't be started, failed or took too long; gives its last line.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as e:
        raise LatedgeError(f"{command[0]} can't be started: {e.strerror}.") from e
    try:
        if started is not None:
            started(process.pid)
        printed, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as e:
        _kill(process)
        raise LatedgeError(f"{name} took longer than {timeout_s:g} s and was ended.") from e
    except BaseException:
        _kill(process)
        raise
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{printed}\n")
    if process.returncode:
        lines = printed.strip().splitlines() or [f"exit status {process.returncode}"]
        raise LatedgeError(f"{name} failed: {lines[-1].strip()} (all of it: {log})")
    return printed


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
