"""The one command: the environment that it makes, and what it hands on to the checks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu.run import REPOSITORY, main, make_environment, variables

Ran = list[tuple[list[str], Mapping[str, str]]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    found: Ran = []

    def run(
        command: list[str], *, check: bool, env: Mapping[str, str] | None = None
    ) -> SimpleNamespace:
        found.append((command, env or {}))
        status = 1 if "install" in command and "broken" in str(command) else 0
        return SimpleNamespace(returncode=5 if "benchmarks.gpu.checks" in command else status)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_environment_is_made_from_the_folder_alone(ran: Ran, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "latedge-0.1-py3-none-any.whl").touch()
    status = main(
        ["--wheels", str(wheels), "--device", "cuda:0", "--work", str(tmp_path), "--steps", "3"]
    )
    assert status == 5
    (make, _), (install, _), (checks, _) = ran
    assert make[1:3] == ["-m", "venv"]
    assert install[0] == checks[0] == str(tmp_path / "venv" / "bin" / "python")
    assert install[-5:] == [
        "--no-index",
        "--find-links",
        str(wheels),
        "latedge[export,onnxruntime-gpu,bench]",
        "onnxruntime-gpu[cuda,cudnn]",
    ]
    assert checks[1:] == [
        *("-m", "benchmarks.gpu.checks", "--device", "cuda:0"),
        *("--work", str(tmp_path), "--steps", "3"),
    ]


def test_without_wheels_the_environment_at_hand_is_taken(ran: Ran, tmp_path: Path) -> None:
    main(["--device", "cpu", "--work", str(tmp_path / "new")])
    ((command, env),) = ran
    assert command[0] == sys.executable
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(REPOSITORY)
    assert env["HF_HUB_OFFLINE"] == "1"
    assert (tmp_path / "new").is_dir()


def test_cuda_libraries_of_the_environment_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cudnn", "cu13"):
        (tmp_path / f"lib/python3.11/site-packages/nvidia/{name}/lib").mkdir(parents=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    found = variables(tmp_path / "bin" / "python")["LD_LIBRARY_PATH"].split(os.pathsep)
    assert [Path(path).parent.name for path in found[:2]] == ["cu13", "cudnn"]
    assert found[2:] == ["/own"]


def test_empty_folder_of_wheels_is_refused(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no wheel of latedge in .*wheels\.py .* --device cpu"):
        main(["--wheels", str(tmp_path), "--device", "cpu", "--work", str(tmp_path / "work")])
    assert ran == []


def test_missing_wheel_is_told(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "latedge-0.1-py3-none-any.whl").touch()
    with pytest.raises(SystemExit, match="can't be installed; pip says above"):
        make_environment(tmp_path / "broken", tmp_path, "cpu")
    assert len(ran) == 2


def test_unknown_device_is_refused(ran: Ran) -> None:
    with pytest.raises(SystemExit, match="no checks for device 'tpu'"):
        main(["--device", "tpu"])
    assert ran == []


@pytest.mark.parametrize("script", ["run.py", "wheels.py"])
def test_scripts_need_python_alone(script: str, tmp_path: Path) -> None:
    """Run by path, from anywhere, without the packages of this environment."""
    path = REPOSITORY / "benchmarks" / "gpu" / script
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--device" in done.stdout
