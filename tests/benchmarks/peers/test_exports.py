"""Exports are made once, whole or not at all; what fails is one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.environments.environment import Environment, names
from benchmarks.peers.exports import EXPORTS, Exporter
from benchmarks.peers.model import Model, open_model
from runtimes.errors import LatedgeError


class FakeEnvironment(Environment):
    """Runs a function in the place of programs."""

    work: Callable[[Sequence[str]], str]
    ran: list[list[str]]

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_s: float | None = None,
        started: Callable[[int], None] | None = None,
    ) -> str:
        type(self).ran.append(list(arguments))
        return type(self).work(arguments)


def write(arguments: Sequence[str]) -> str:
    output = Path(arguments[-1])
    output.mkdir()
    (output / "graph").write_text(" ".join(arguments), "utf-8")
    return "done"


@pytest.fixture
def model(tiny_sd15: Path, tmp_path: Path) -> Model:
    return open_model(str(tiny_sd15), tmp_path, print)


@pytest.fixture
def exporter(model: Model, tmp_path: Path) -> Exporter:
    FakeEnvironment.ran, FakeEnvironment.work = [], staticmethod(write)  # pyright: ignore[reportAttributeAccessIssue]
    return Exporter(
        model=model,
        base=tmp_path / "exports",
        prepare=lambda name: FakeEnvironment(name, tmp_path, tmp_path / "log"),
        timeout_s=60,
        progress=lambda line: None,
        check_memory=lambda what, times: None,
    )


def test_every_export_has_its_environment() -> None:
    for export in EXPORTS.values():
        assert export.environment in names()
        assert export.before is None or export.before in EXPORTS


def test_made_once(exporter: Exporter, model: Model) -> None:
    made = exporter.make("optimum-onnx-fp32")
    assert exporter.make("optimum-onnx-fp32") == made
    (command,) = FakeEnvironment.ran
    assert command[:5] == ["optimum-cli", "export", "onnx", "--model", str(model.folder)]
    assert (exporter.path("optimum-onnx-fp32") / "graph").is_file()
    assert sorted(path.name for path in exporter.base.iterdir()) == [
        "optimum-onnx-fp32",
        "optimum-onnx-fp32.json",
    ]
    stamp = exporter.base / "optimum-onnx-fp32.json"
    stamp.write_text(
        json.dumps({**json.loads(stamp.read_text("utf-8")), "made_from": "x"}), "utf-8"
    )
    exporter.make("optimum-onnx-fp32")
    assert len(FakeEnvironment.ran) == 2, "made from something else"


def test_time_holds_what_it_started_from(exporter: Exporter) -> None:
    made = exporter.make("latedge-openvino-fp16")
    portable = exporter.make("latedge-portable")
    assert made.seconds > portable.seconds > 0
    export, compile = FakeEnvironment.ran
    assert export[:3] == ["-m", "latedge", "export"]
    assert compile[:4] == ["-m", "latedge", "compile", str(exporter.path("latedge-portable"))]
    exporter.make("latedge-onnxruntime-fp16")
    assert len(FakeEnvironment.ran) == 3, "one export for all"


def test_failure_leaves_nothing_half_written(exporter: Exporter) -> None:
    def fail(arguments: Sequence[str]) -> str:
        write(arguments)
        raise LatedgeError("optimum-cli failed: no")

    FakeEnvironment.work = staticmethod(fail)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(LatedgeError, match="optimum-cli failed: no"):
        exporter.make("optimum-intel-int8")
    assert list(exporter.base.iterdir()) == []


def test_made_up_weights_are_an_error(exporter: Exporter) -> None:
    def warn(arguments: Sequence[str]) -> str:
        write(arguments)
        return "Some weights were not initialized and are newly initialized: x"

    FakeEnvironment.work = staticmethod(warn)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(LatedgeError, match="optimum-intel-fp16: the exporter made up weights"):
        exporter.make("optimum-intel-fp16")
    assert list(exporter.base.iterdir()) == []


EXPORTER = """#!{python}
import pathlib, sys, time
kept = bytearray(60_000_000)
pathlib.Path(sys.argv[-1]).mkdir()
time.sleep({seconds})
"""


def program(exporter: Exporter, folder: Path, seconds: float) -> Exporter:
    """The exporter with a real process in the place of optimum-cli."""
    (folder / "env" / "bin").mkdir(parents=True, exist_ok=True)
    script = folder / "env" / "bin" / "optimum-cli"
    script.write_text(EXPORTER.format(python=sys.executable, seconds=seconds), "utf-8")
    script.chmod(0o755)
    environment = Environment("optimum-onnx", folder / "env", folder / "log")
    return replace(exporter, prepare=lambda name: environment, timeout_s=5)


def test_memory_of_the_process_is_sampled(exporter: Exporter, tmp_path: Path) -> None:
    made = program(exporter, tmp_path, 0.5).make("optimum-onnx-fp32")
    assert made.peak_rss is not None
    assert 60e6 < made.peak_rss < 1e9
    assert made.seconds > 0.5
    assert any("proportional set size" in note for note in made.notes)


def test_export_that_takes_too_long_is_ended(exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(LatedgeError, match="optimum-cli took longer than 5 s and was ended"):
        program(exporter, tmp_path, 60).make("optimum-onnx-fp32")
    assert list(exporter.base.iterdir()) == []
