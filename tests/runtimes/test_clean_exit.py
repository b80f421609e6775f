"""How verbs end."""

from __future__ import annotations

import errno
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer

from runtimes.clean_exit import EXTRAS, TRACEBACK, describe, exits_cleanly, run
from runtimes.errors import BundleError, UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = "what is finished is kept: run the same again to go on from there."
NO_SPACE = OSError(errno.ENOSPC, "No space left on device", "x.png")


def noted(error: BaseException) -> BaseException:
    error.add_note(KEPT)
    return error


@pytest.fixture(autouse=True)
def plain_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)


def app(error: BaseException) -> typer.Typer:
    made = typer.Typer()

    def fail() -> None:
        raise error

    made.command("fail")(exits_cleanly(fail))
    return made


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("bad size."), 2, "error: bad size."),
        (BundleError("no bundle."), 1, "error: no bundle."),
        (BundleError("one\n  two\n\nthree"), 1, "error: one two three"),
        (KeyboardInterrupt(), 1, "error: interrupted; nothing half-written is left."),
        (noted(KeyboardInterrupt()), 1, f"error: interrupted; {KEPT}"),
        (noted(MemoryError()), 1, f"error: out of memory; {KEPT}"),
        (NO_SPACE, 1, "error: x.png: No space left on device."),
        (OSError(errno.EIO, "Input/output error"), 1, "error: Input/output error."),
        (MemoryError(), 1, "error: out of memory."),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            1,
            'error: torch is not installed: pip install "latedge[export]"',
        ),
        (
            ModuleNotFoundError("No module named 'openvino'", name="openvino"),
            1,
            'error: openvino is not installed: pip install "latedge[openvino]"',
        ),
        (
            ModuleNotFoundError("No module named 'other'", name="other"),
            1,
            "error: ModuleNotFoundError: No module named 'other' (a fault in latedge; run again "
            "with LATEDGE_TRACEBACK=1 for the traceback, and report it)",
        ),
        (
            ZeroDivisionError("division by zero"),
            1,
            "error: ZeroDivisionError: division by zero (a fault in latedge; run again with "
            "LATEDGE_TRACEBACK=1 for the traceback, and report it)",
        ),
    ],
)
def test_each_error_is_one_line_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    assert run(lambda: app(error), [], name="latedge fail") == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{line}\n")


def test_what_fails_before_the_verb_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    def build() -> typer.Typer:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    assert run(build, [], name="latedge") == 1
    assert "pip install" in capsys.readouterr().err


def test_tracebacks_are_shown_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    assert run(lambda: app(UsageError("bad size.")), [], name="latedge fail") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: bad size."


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: app(MemoryError()), ["--depth"], name="latedge fail") == 2
    line = "error: No such option: --depth. See: latedge fail --help\n"
    assert capsys.readouterr().err == line


def test_warnings_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    shown = warnings.showwarning

    @exits_cleanly
    def verb() -> int:
        warnings.simplefilter("always")
        warnings.warn("too\nlong", UserWarning, stacklevel=1)
        return 3

    assert verb() == 3
    assert capsys.readouterr().err == "warning: too long\n"
    assert warnings.showwarning is shown


def test_statuses_of_a_verb_pass() -> None:
    @exits_cleanly
    def verb() -> None:
        raise typer.Exit(7)

    with pytest.raises(typer.Exit) as caught:
        verb()
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("module", EXTRAS)
def test_extras_exist(module: str) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f"\n{EXTRAS[module]} = [" in project
    error = ModuleNotFoundError(name=f"{module}.part")
    assert describe(error).startswith(f"{module} is not installed: pip install ")


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_a_reader_that_goes_away_is_no_fault(flag: str) -> None:
    command = [sys.executable, "-m", "latedge", flag]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(), err) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_told() -> None:
    command = [sys.executable, "-m", "latedge", "--version"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr) == (1, "error: No space left on device.\n")
