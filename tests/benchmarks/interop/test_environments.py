"""The peers' environments: whole lists of exact versions, made once, errors in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks.interop import environments
from benchmarks.interop.command import PACKAGES
from benchmarks.interop.environments import ENVIRONMENTS, HERE, Environment, pinned, prepare
from runtimes.errors import LatedgeError


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_package_is_pinned(name: str) -> None:
    lines = (HERE / f"{name}.txt").read_text("utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    for line in packages:
        assert re.fullmatch(r"[\w-]+==\d[\w.]*", line), line
    assert len(pinned(name)) == len(packages) > 4
    assert "torchvision" not in pinned(name), "it is built for another torch"
    assert set(PACKAGES[name]) <= pinned(name).keys()


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

    def record(command: list[str], log: Path, variables: object) -> str:
        commands.append(command)
        (tmp_path / "base" / "optimum-intel").mkdir(exist_ok=True)
        return ""

    monkeypatch.setattr(environments, "_run", record)
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
