"""The checks against stand-ins of devices: each passes, and each fails for each of its reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from benchmarks.bench.results import (
    Machine,
    Memory,
    Plan,
    Report,
    Stage,
    Subject,
    Summary,
    encode,
)
from benchmarks.gpu import checks
from benchmarks.gpu.checks import CHECKS, Outcome, main, run_all
from benchmarks.gpu.place import REPOSITORY, CommandError, Drawing, Place
from runtimes.errors import LatedgeError, UsageError

PICTURE = np.random.default_rng(0).random((8, 8, 3), np.float32)


@dataclass(frozen=True)
class Made(Place):
    """A place whose commands do nothing."""

    drawings: Mapping[tuple[str, str], Drawing] = field(default_factory=dict[Any, Drawing])
    answers: Mapping[str, str | CommandError] = field(default_factory=dict[Any, Any])

    def bundle(self, target: str, precision: str) -> Path:
        return Path(f"{target}-{precision}")

    def draw(self, bundle: Path, device: str, name: str = "drawn") -> Drawing:
        return self.drawings.get((bundle.name, device), Drawing(PICTURE, device, 10.0))

    def python(self, *arguments: object) -> str:
        words = " ".join(map(str, arguments))
        for part, answer in self.answers.items():
            if part in words:
                if isinstance(answer, CommandError):
                    raise answer
                return answer
        raise AssertionError(words)


def made(
    tmp_path: Path,
    device: str = "cuda:0",
    drawings: Mapping[tuple[str, str], Drawing] | None = None,
    answers: Mapping[str, str | CommandError] | None = None,
    train_minutes: float = 1.0,
) -> Made:
    return Made(
        tmp_path, device, tmp_path, 5, 2.0, 1, 2, train_minutes, drawings or {}, answers or {}
    )


def run(name: str, place: Place) -> Outcome:
    return CHECKS[name].run(place)


BUNDLES = {"same picture": "onnxruntime-fp32", "half storage": "onnxruntime-fp16"}
OFF = np.clip(PICTURE + np.float32(0.05), 0, 1)


@pytest.mark.parametrize("name", BUNDLES)
def test_picture_of_a_provider(tmp_path: Path, name: str) -> None:
    device, bundle = "cuda:0", BUNDLES[name]
    found = run(name, made(tmp_path))
    assert found.passed
    assert found.figures["equal"]
    near = {(bundle, device): Drawing(PICTURE + np.float32(1e-3), device, 4.0)}
    found = run(name, made(tmp_path, drawings=near))
    assert found.passed
    assert found.figures["psnr_db"] == pytest.approx(60, abs=0.1)
    assert (found.figures["unet_ms"], found.figures["unet_ms_cpu"]) == (4.0, 10.0)
    for drawing, reason in (
        (Drawing(OFF, device, 4.0), "PSNR is 2"),
        (Drawing(PICTURE, "cpu", 4.0), "it ran on cpu, not on cuda:0"),
        (Drawing(np.zeros_like(PICTURE), device, 4.0), "the picture is empty"),
    ):
        found = run(name, made(tmp_path, drawings={(bundle, device): drawing}))
        assert found.passed is False
        assert found.reason is not None
        assert found.reason.startswith(reason)


def test_times_of_both_storages_are_told(tmp_path: Path) -> None:
    drawings = {
        ("onnxruntime-fp32", "cuda:0"): Drawing(PICTURE, "cuda:0", 8.0),
        ("onnxruntime-fp16", "cuda:0"): Drawing(PICTURE, "cuda:0", 5.0),
    }
    figures = run("half storage", made(tmp_path, drawings=drawings)).figures
    assert (figures["unet_ms_fp32"], figures["unet_ms_fp16"]) == (8.0, 5.0)


def test_black_picture_of_openvino_is_found(tmp_path: Path) -> None:
    assert run("openvino", made(tmp_path, "gpu")).passed
    black = {("openvino-fp16", "npu"): Drawing(np.zeros_like(PICTURE), "npu", 1.0)}
    assert run("openvino", made(tmp_path, "npu", drawings=black)).passed is False


def result(**changed: Any) -> str:
    summary = Summary(n=1, min=3, p50=3, p90=3, p95=3, p99=3, max=3, spread=0)
    subject = Subject(
        name="a",
        program="latedge",
        path="a",
        device="cuda:0",
        stages={"picture": Stage(sessions=((3.0,),), summary=summary)},
        memory=Memory(peak_rss=5, device_peak=6),
    )
    report = Report(
        date="",
        command="",
        version="",
        machine=Machine(system="", processor="", cores=1, memory_bytes=1),
        plan=Plan(sessions=1, rounds=1, warmup=1),
        subjects=(structs.replace(subject, **changed),),
    )
    return encode(report).decode()


def test_bench_tells_stages_and_memory(tmp_path: Path) -> None:
    found = run("bench", made(tmp_path, answers={"latedge bench onnxruntime-fp16": result()}))
    assert found.passed
    assert found.figures["p50_ms"] == {"picture": 3.0}
    assert (found.figures["peak_rss"], found.figures["device_peak"]) == (5, 6)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (result(error="it crashed"), "it crashed"),
        (result(device="cpu"), "it ran on cpu, not on cuda:0"),
        (result(memory=Memory(peak_rss=5)), "no memory of the GPU was told"),
        (result(memory=None), "no memory of the GPU was told"),
        ("{}", "gave no result of one subject"),
    ],
)
def test_bench_fails(tmp_path: Path, answer: str, reason: str) -> None:
    found = run("bench", made(tmp_path, answers={"latedge bench": answer}))
    assert found.passed is False
    assert found.reason is not None
    assert reason in found.reason


def test_bench_on_other_devices_needs_no_memory_of_a_gpu(tmp_path: Path) -> None:
    answer = result(device="npu", memory=Memory(peak_rss=5))
    answers = {"latedge bench openvino-fp16 --device npu": answer}
    assert run("bench", made(tmp_path, "npu", answers=answers)).passed


def test_training(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "vae.pt").write_bytes(b"12345")
    answers = {"is_available": "True 2.13.0\n", "shapes.train vae": ""}
    found = run("training", made(tmp_path, answers=answers))
    assert found.passed
    assert found.figures == {
        "torch": "2.13.0",
        "cuda": True,
        "minutes": 1.0,
        "checkpoint_bytes": 5,
    }
    found = run("training", made(tmp_path, answers={"is_available": "False 2.13.0+cpu\n"}))
    assert found.passed is False
    assert found.reason == "torch sees no GPU: its wheel may be one for CPUs"
    assert run("training", made(tmp_path, train_minutes=0)).passed is None


def test_failed_command_and_other_device_are_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = made(tmp_path, answers={"latedge bench": CommandError("no driver")})
    path = tmp_path / "checks.json"
    found = run_all(place, {name: CHECKS[name] for name in ("bench", "openvino")}, path)
    assert (found["bench"]["passed"], found["bench"]["reason"]) == (False, "no driver")
    assert found["openvino"]["passed"] is None
    assert found["openvino"]["reason"] == "not for cuda:0; it awaits gpu or npu"
    written = json.loads(path.read_text())
    assert written["checks"] == found
    assert written["device"] == "cuda:0"
    assert msgspec.convert(written["machine"], Machine).cores >= 1
    assert capsys.readouterr().err.splitlines() == [
        "FAILED   bench: no driver",
        "left out openvino: not for cuda:0; it awaits gpu or npu",
    ]


def test_command_writes_the_file_and_fails_with_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def place(*given: Any) -> Made:
        return Made(*given, answers={"latedge bench": result(device="cpu", error="it crashed")})

    monkeypatch.setattr(checks, "Place", place)
    out = tmp_path / "out.json"
    main("CPU", tmp_path / "work", out, only=["same picture"])
    assert capsys.readouterr().out == f"{out}\n"
    with pytest.raises(LatedgeError, match=r"1 of 2 checks failed: bench\."):
        main("cpu", tmp_path / "work", out, only=["bench", "openvino"])
    assert set(json.loads(out.read_text())["checks"]) == {"bench", "openvino"}


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checks for device 'tpu:0'; there are for cpu, cuda"):
        main("tpu:0", tmp_path)
    with pytest.raises(UsageError, match="no check 'x'; there are same picture, half"):
        main("cpu", tmp_path, only=["x"])


def test_list_names_every_check() -> None:
    """README's table is the list of what awaits a GPU; a check that passed there is struck."""
    text = (REPOSITORY / "benchmarks" / "gpu" / "README.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in CHECKS)
