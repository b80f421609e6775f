"""The peers' environments: whole lists of exact versions, made once, errors in one line."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from benchmarks.environments import environment
from benchmarks.environments.environment import (
    HERE,
    REPOSITORY,
    Environment,
    folder_bytes,
    names,
    pinned,
    prepare,
)
from benchmarks.interop.command import ENVIRONMENTS, PACKAGES
from runtimes.errors import LatedgeError


@pytest.mark.parametrize("name", names())
def test_every_package_is_pinned(name: str) -> None:
    lines = (HERE / f"{name}.txt").read_text("utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    for line in packages:
        assert re.fullmatch(r"[\w-]+==\d[\w.]*", line), line
    assert len(pinned(name)) == len(packages) >= 4
    assert "torchvision" not in pinned(name), "it is built for another torch"


def test_interop_reports_packages_that_are_there() -> None:
    for name in ENVIRONMENTS:
        assert set(PACKAGES[name]) <= pinned(name).keys()


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("latedge-")])
def test_latedges_own_environments_hold_what_the_tests_ran_on(name: str) -> None:
    constraints = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    known = dict(line.split("==") for line in constraints if "==" in line and line[0] != "#")
    for package, version in pinned(name).items():
        assert known[package.lower().replace("_", "-")] == version, package


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    """This interpreter as an environment."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    python = tmp_path / "env" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return Environment("optimum-onnx", tmp_path / "env", tmp_path / "log")


def test_programs_run_offline_from_the_repository(here: Environment) -> None:
    shown = here.run(["python", "-c", "import os, benchmarks; print(os.environ['HF_HUB_OFFLINE'])"])
    assert shown == "1\n"
    assert here.run(["-m", "this"]).startswith("The Zen of Python")
    assert "Zen" in here.log.read_text("utf-8"), "the log has what every program printed"
    assert here.versions(["torch"]) == {"torch": "2.13.0"}


def test_failures_are_one_line(here: Environment) -> None:
    with pytest.raises(
        LatedgeError, match=r"^python failed: ValueError: no \(all of it: .*log\)\.?$"
    ):
        here.run(["python", "-c", "print(1)\nraise ValueError('no')"])
    with pytest.raises(LatedgeError, match="python failed: exit status 3"):
        here.run(["python", "-c", "raise SystemExit(3)"])


def test_environment_is_made_once_per_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def record(command: list[str], log: Path, variables: object, **options: object) -> str:
        commands.append(command)
        (tmp_path / "base" / "optimum-intel").mkdir(exist_ok=True)
        return ""

    monkeypatch.setattr(environment, "run_logged", record)
    told: list[str] = []
    for _ in range(2):
        prepare("optimum-intel", tmp_path / "base", told.append)
    count = len(pinned("optimum-intel"))
    assert told == [f"optimum-intel: installing {count} packages"]
    made, torch, others = commands
    assert made[1:3] == ["-m", "venv"]
    assert torch[-1] == "torch==2.13.0", "it comes first and alone"
    assert "--no-deps" in others
    assert others[-1] == str(HERE / "optimum-intel.txt")
    (tmp_path / "base" / "optimum-intel" / "made-from").write_text("an older list", "utf-8")
    prepare("optimum-intel", tmp_path / "base", told.append)
    assert len(commands) == 6


def test_what_takes_too_long_is_ended_with_its_children(here: Environment, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "child.wait()"
    )
    started: list[int] = []
    with pytest.raises(LatedgeError, match="python took longer than 1 s and was ended"):
        here.run(["python", "-c", code], timeout_s=1, started=started.append)
    child = int((tmp_path / "child").read_text("utf-8"))
    assert started, "the caller was told the process"
    assert _ended(child)


def _ended(pid: int) -> bool:
    """Whether a process is gone; a killed orphan stays for a moment until it is reaped."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_program_that_is_not_there_is_named(here: Environment) -> None:
    with pytest.raises(LatedgeError, match=r"bin/optimum-cli can't be started: No such file"):
        here.run(["optimum-cli", "export"])


def test_size_counts_a_linked_file_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(bytes(100_000))
    once = folder_bytes(tmp_path)
    assert 100_000 <= once < 200_000
    os.link(tmp_path / "in" / "a", tmp_path / "b")
    os.symlink(tmp_path / "in" / "a", tmp_path / "c")
    assert folder_bytes(tmp_path) - once < 8192
