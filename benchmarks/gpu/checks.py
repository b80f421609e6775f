"""`python -m benchmarks.gpu.checks --device D`: each check of the list, its figures in one file."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.bench.machine import describe
from benchmarks.bench.quality import psnr_db
from benchmarks.bench.results import Report
from benchmarks.command_line import run_command
from benchmarks.gpu.place import REPOSITORY, Drawing, Place
from runtimes.errors import LatedgeError, UsageError

PSNR_DB = 45.0
"""Two float32 pictures of the same seed, 8 bits each, which alone leave 53; README's threshold."""
BLACK = 0.01
"""Standard deviation of a picture that shows nothing: fp16 that overflows gives one of 0."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        passed: None where it doesn't apply to the device, and still awaits another.
        figures: what was measured, by name.
        reason: why it failed or was left out, in one line.
    """

    passed: bool | None
    figures: Figures = field(default_factory=Figures)
    reason: str | None = None


@dataclass(frozen=True)
class Check:
    """A line of the list.

    Attributes:
        shows: what it must show.
        kinds: devices that it is for, their numbers aside; others leave it out. "cpu" tries it out.
        run: the check itself.
    """

    shows: str
    kinds: tuple[str, ...]
    run: Callable[[Place], Outcome]


def same_picture(place: Place) -> Outcome:
    """ONNX Runtime's provider runs an fp32 bundle and draws what the CPU does."""
    bundle = place.bundle("onnxruntime", "fp32")
    return _compare(place, place.draw(bundle, place.device), _reference(place, bundle))


def half_storage(place: Place) -> Outcome:
    """The same with fp16 storage, and what it costs in time."""
    full = place.draw(place.bundle("onnxruntime", "fp32"), place.device)
    half = place.draw(place.bundle("onnxruntime", "fp16"), place.device)
    found = _compare(place, half, _reference(place, place.bundle("onnxruntime", "fp32")))
    times = {"unet_ms_fp32": full.unet_ms, "unet_ms_fp16": half.unet_ms}
    return Outcome(found.passed, {**found.figures, **times}, found.reason)


def openvino_picture(place: Place) -> Outcome:
    """OpenVINO draws on its GPU or NPU what it draws on the CPU, and no black picture."""
    bundle = place.bundle("openvino", "fp16")
    return _compare(place, place.draw(bundle, place.device), _reference(place, bundle))


def bench(place: Place) -> Outcome:
    """`latedge bench` measures there: every stage, and on CUDA the memory of the GPU."""
    target = "openvino" if place.kind in ("gpu", "npu") else "onnxruntime"
    plan = ("--sessions", place.sessions, "--rounds", place.rounds, "--steps", place.steps)
    bundle = place.bundle(target, "fp16")
    told = place.latedge("bench", bundle, "--device", place.device, *plan, "--json")
    try:
        (subject,) = msgspec.json.decode(told, type=Report).subjects
    except (msgspec.DecodeError, ValueError) as e:
        return Outcome(False, reason=f"`latedge bench --json` gave no result of one subject: {e}")
    memory = subject.memory
    figures: Figures = {
        "device": subject.device,
        "engine": subject.engine,
        "p50_ms": {name: stage.summary.p50 for name, stage in subject.stages.items()},
        "peak_rss": memory.peak_rss if memory else None,
        "device_peak": memory.device_peak if memory else None,
        "notes": list(subject.notes),
    }
    if subject.error is not None:
        return Outcome(False, figures, subject.error)
    if subject.device != place.device:
        return Outcome(False, figures, f"it ran on {subject.device}, not on {place.device}")
    if place.kind == "cuda" and figures["device_peak"] is None:
        return Outcome(False, figures, "no memory of the GPU was told")
    return Outcome(True, figures)


def training(place: Place) -> Outcome:
    """The shapes model trains on CUDA."""
    if place.train_minutes == 0:
        return Outcome(None, reason="left out by --train-minutes 0")
    known = "import torch; print(torch.cuda.is_available(), torch.__version__)"
    cuda, version = place.python("-c", known).split()
    figures: Figures = {"torch": version, "cuda": cuda == "True", "minutes": place.train_minutes}
    if place.kind == "cuda" and not figures["cuda"]:
        return Outcome(False, figures, "torch sees no GPU: its wheel may be one for CPUs")
    run = place.work / "training"
    place.python(
        "-m", "benchmarks.shapes.train", "vae", "--run", run, "--minutes", place.train_minutes
    )
    figures["checkpoint_bytes"] = (run / "vae.pt").stat().st_size
    return Outcome(True, figures)


CHECKS: Mapping[str, Check] = {
    "same picture": Check(
        "ONNX Runtime's provider draws the CPU provider's fp32 picture, at 45 dB of PSNR or more, "
        "and names the device",
        ("cuda", "cpu"),
        same_picture,
    ),
    "half storage": Check(
        "the same with fp16 storage, and whether the lowered graph is fast there",
        ("cuda", "cpu"),
        half_storage,
    ),
    "openvino": Check(
        "OpenVINO's picture on an Intel GPU or NPU is the CPU's, and not black",
        ("gpu", "npu", "cpu"),
        openvino_picture,
    ),
    "bench": Check(
        "`latedge bench` measures every stage, and the GPU's memory on CUDA",
        ("cuda", "gpu", "npu", "cpu"),
        bench,
    ),
    "training": Check("the shapes model trains on CUDA", ("cuda", "cpu"), training),
}
"""Name → check, in the order in which they run. README.md lists the same."""


def main(
    device: Annotated[str, typer.Option(help="cuda:0, gpu, npu; cpu tries the checks out.")],
    work: Annotated[Path, typer.Option(help="Folder for all that is made.")] = REPOSITORY
    / "build"
    / "gpu",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The JSON file; WORK/checks.json.")
    ] = None,
    source: Annotated[Path, typer.Option(help="A Diffusers folder.")] = REPOSITORY
    / "benchmarks"
    / "shapes"
    / "model",
    steps: Annotated[int, typer.Option(min=1, help="Sampler steps of a picture.")] = 20,
    guidance_scale: Annotated[float, typer.Option(help="Of a picture.")] = 2.0,
    sessions: Annotated[int, typer.Option(min=1, help="Of `latedge bench`.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Of `latedge bench`.")] = 10,
    train_minutes: Annotated[
        float, typer.Option(min=0, help="Of training; 0 leaves it out.")
    ] = 2.0,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(CHECKS)}; several times for several.")
    ] = None,
) -> None:
    """Runs the checks; exit 1 where one fails. Those for other devices are told, and left out."""
    chosen = _chosen(device, only)
    work.mkdir(parents=True, exist_ok=True)
    place = Place(
        work.resolve(),
        device.lower(),
        source.resolve(),
        steps,
        guidance_scale,
        sessions,
        rounds,
        train_minutes,
    )
    path = output or work / "checks.json"
    found = run_all(place, chosen, path)
    failed = [name for name, record in found.items() if record["passed"] is False]
    print(path)
    if failed:
        raise LatedgeError(f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}.")


def run_all(place: Place, checks: Mapping[str, Check], path: Path) -> dict[str, Figures]:
    """Runs checks one after the other; the file is written anew after each, so that none is lost.

    Returns:
        What was found, by name, as it is in the file.
    """
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    found: dict[str, Figures] = {}
    for name, check in checks.items():
        began = time.perf_counter()
        outcome = _run(place, check)
        found[name] = {
            "shows": check.shows,
            **asdict(outcome),
            "seconds": round(time.perf_counter() - began, 1),
        }
        word = {True: "passed", False: "FAILED", None: "left out"}[outcome.passed]
        print(f"{word:9}{name}{': ' + outcome.reason if outcome.reason else ''}", file=sys.stderr)
        record = {
            "format": "latedge-gpu-checks",
            "date": begun,
            "command": shlex.join(sys.argv),
            "device": place.device,
            "machine": msgspec.to_builtins(describe()),
            "checks": found,
        }
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
    return found


def _run(place: Place, check: Check) -> Outcome:
    if place.kind not in check.kinds:
        awaited = " or ".join(kind for kind in check.kinds if kind != "cpu")
        return Outcome(None, reason=f"not for {place.device}; it awaits {awaited}")
    try:
        return check.run(place)
    except LatedgeError as e:
        return Outcome(False, reason=str(e))


def _reference(place: Place, bundle: Path) -> Drawing:
    return place.draw(bundle, "cpu", "reference")


def _compare(place: Place, drawn: Drawing, reference: Drawing) -> Outcome:
    """Whether a drawing ran where it should, shows something, and is the reference's picture."""
    psnr = psnr_db(drawn.picture, reference.picture)
    deviation = float(drawn.picture.std())
    figures: Figures = {
        "device": drawn.device,
        "psnr_db": psnr,
        "equal": psnr is None,
        "standard_deviation": deviation,
        "unet_ms": drawn.unet_ms,
        "unet_ms_cpu": reference.unet_ms,
    }
    if drawn.device != place.device:
        return Outcome(False, figures, f"it ran on {drawn.device}, not on {place.device}")
    if deviation < BLACK:
        return Outcome(False, figures, f"the picture is empty: standard deviation {deviation:.4f}")
    if psnr is not None and psnr < PSNR_DB:
        return Outcome(False, figures, f"PSNR is {psnr:.1f} dB, below {PSNR_DB:g}")
    return Outcome(True, figures)


def _chosen(device: str, only: Sequence[str] | None) -> Mapping[str, Check]:
    """The checks that were asked for, of a device that there are any for."""
    kinds = {kind for check in CHECKS.values() for kind in check.kinds}
    if device.lower().partition(":")[0] not in kinds:
        raise UsageError(
            f"no checks for device {device!r}; there are for {', '.join(sorted(kinds))}."
        )
    unknown = [name for name in only or () if name not in CHECKS]
    if unknown:
        raise UsageError(f"no check {unknown[0]!r}; there are {', '.join(CHECKS)}.")
    return {name: check for name, check in CHECKS.items() if not only or name in only}


if __name__ == "__main__":
    raise SystemExit(run_command(main, "python -m benchmarks.gpu.checks"))
