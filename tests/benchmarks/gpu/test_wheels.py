"""What pip is asked for when the folder of wheels is filled."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu.wheels import EXTRAS, REPOSITORY, kind_of, main, requirements


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> SimpleNamespace:
        assert not check
        ran.append(command)
        (tmp_path / "latedge-1-py3-none-any.whl").touch()
        return SimpleNamespace(returncode=3 if "refused" in str(command) else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_extras_exist() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for extras in EXTRAS.values():
        assert all(f"\n{name} = [" in project for name in extras.split(","))


def test_requirements() -> None:
    assert requirements("CUDA:1") == [
        "latedge[export,onnxruntime-gpu,bench]",
        "onnxruntime-gpu[cuda,cudnn]",
    ]
    assert requirements("npu") == ["latedge[export,onnxruntime,openvino,bench]"]


def test_unknown_device_is_refused() -> None:
    with pytest.raises(SystemExit, match="no checks for device 'tpu:0'; there are for cuda, gpu"):
        kind_of("tpu:0")


def test_own_wheel_is_built_and_the_rest_downloaded(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latedge-0-py3-none-any.whl").touch()
    main([str(tmp_path), "--device", "cpu"])
    build, download = commands
    assert build[-1] == str(REPOSITORY)
    assert "wheel" in build
    assert "download" in download
    assert download[-1] == "latedge[export,onnxruntime,openvino,bench]"
    assert str(REPOSITORY / "constraints.txt") in download
    # The wheel of an older tree is gone, or pip could take it.
    assert capsys.readouterr().out == f"1 wheels in {tmp_path}\n"


def test_failure_of_pip_is_told(commands: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="pip ended with exit status 3"):
        main([str(tmp_path / "refused"), "--device", "cpu"])
    assert len(commands) == 1
