"""The benchmark's end of a worker process: starts it, asks, and says how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.bench.protocol import Ask, Drawn, Opened, of
from runtimes.errors import LatedgeError

REPOSITORY = Path(__file__).resolve().parents[2]
_END_SECONDS = 20.0


class WorkerError(LatedgeError):
    """A worker failed, or its process ended."""


@dataclass(frozen=True)
class Program:
    """How the process of a subject is started.

    Attributes:
        command: the program and its arguments.
        variables: of the environment, beside the present ones.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


class Worker:
    """A running worker process. Use as a context: leaving it ends the process.

    Attributes:
        pid: of the process.
    """

    def __init__(self, program: Program) -> None:
        """Starts it.

        Raises:
            WorkerError: the program can't be started.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        try:
            self._process = subprocess.Popen(
                program.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**environment(), **program.variables},
                # A group of its own: Ctrl-C reaches the benchmark alone, which then ends it.
                start_new_session=True,
            )
        except OSError as e:
            self._errors.close()
            raise WorkerError(f"{program.command[0]} can't be started: {e.strerror}.") from e
        self.pid = self._process.pid

    def open(self) -> Opened:
        """Loads the subject.

        Raises:
            WorkerError: it can't be loaded, or the process ended.
        """
        return of(Opened, self._ask({"open": {}}, "opened"))

    def draw(self, ask: Ask) -> Drawn:
        """Draws.

        Raises:
            WorkerError: drawing failed, or the process ended.
        """
        return of(Drawn, self._ask({"draw": asdict(ask)}, "drawn"))

    def ended(self) -> str | None:
        """How the process ended, in one line; None while it runs."""
        return None if self._process.poll() is None else self._how_it_ended()

    def close(self) -> None:
        """Ends the process: by itself, or killed where it doesn't."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            self._kill()  # Ctrl-C doesn't wait for a picture
        self.close()

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def _ask(self, request: dict[str, Any], reply: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:  # nobody reads: EPIPE, on Windows EINVAL
            line = b""
        if not line.endswith(b"\n"):
            raise WorkerError(self._how_it_ended())
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise WorkerError(str(found["error"]))
        return found[reply]

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        last = self._last_error_line()
        if status < 0:
            name = signal_name(-status)
            hint = ", which the system sends when memory runs out" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}{last}"
        return f"its process ended with exit status {status}{last}"

    def _last_error_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1].strip()[:300]}" if lines else ""


def python_worker(module: str, arguments: Sequence[str]) -> Program:
    """A worker that is a module of the project, in this Python environment.

    Args:
        module: such as "benchmarks.bench.worker".
        arguments: of its command line.
    """
    return Program(module_command(module, *arguments))


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """How a module of the project is run by this interpreter, with `environment`.

    Without -P the working folder would come first in the search for modules, and there a user has
    a `benchmarks` package as likely as not.
    """
    return (sys.executable, "-P", "-m", module, *arguments)


def environment() -> dict[str, str]:
    """This process's variables, with which another one finds the project.

    Installed, it is found without, and what is on PYTHONPATH comes before the standard library:
    that is no place for all that is installed.
    """
    own = "" if REPOSITORY.name in ("site-packages", "dist-packages") else str(REPOSITORY)
    paths = [path for path in (own, os.environ.get("PYTHONPATH", "")) if path]
    return {**os.environ, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}


def signal_name(number: int) -> str:
    """Such as "SIGKILL"; those of real time have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
