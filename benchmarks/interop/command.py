"""`make interop`: folders of each exporter, opened by each program; a table and a JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bench.quality import psnr_db
from benchmarks.environments.environment import REPOSITORY, Environment, prepare
from benchmarks.interop.folders import Folder, make_ours, make_theirs
from benchmarks.interop.job import Drawing
from benchmarks.interop.pictures import (
    OPENED,
    Drawn,
    check_commands,
    draw_all,
    lowest_db,
)
from exporter.progress import Progress
from runtimes.errors import LatedgeError

PSNR_DB = 45.0
"""What float32 pictures must reach against every other float32 picture. OpenVINO GenAI cuts its
pictures off to 8 bits, which alone leaves 53."""

ENVIRONMENTS = ("optimum-onnx", "optimum-intel", "openvino-genai")
"""The peers' environments: see `benchmarks.environments`."""

_TORCH = ("diffusers", "transformers", "torch")
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "optimum-onnx": (
        "optimum-onnx",
        "optimum",
        "onnxruntime",
        "diffusers",
        "transformers",
        "torch",
    ),
    "optimum-intel": ("optimum-intel", "optimum", "openvino", "diffusers", "transformers", "torch"),
    "openvino-genai": ("openvino-genai", "openvino", "openvino-tokenizers"),
}
"""Environment → the packages whose versions the report gives."""

OWN = (*_TORCH, "onnxruntime", "openvino", "openvino-tokenizers")


@dataclass(frozen=True)
class Case:
    """A model and what is drawn with it.

    Attributes:
        name: of the model.
        source: its Diffusers folder; None makes the synthetic model of that name.
        drawing: what is drawn.
    """

    name: str
    source: Path | None
    drawing: Drawing


PROMPT = "a large red circle in the top left on a white background"
NEGATIVE = "a small blue square"

CASES = (
    Case(
        "shapes",
        REPOSITORY / "benchmarks" / "shapes" / "model",
        Drawing(PROMPT, NEGATIVE, 20, 2.0, 64, 64, 11),
    ),
    # v-prediction, a tokenizer that pads with "!", fp16 weights.
    Case("tiny-sd21", None, Drawing(PROMPT, NEGATIVE, 20, 7.5, 128, 128, 11)),
)


def interop(
    work: Annotated[
        Path, typer.Option(help="Folder for environments, models and pictures.")
    ] = REPOSITORY / "build" / "interop",
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = REPOSITORY
    / "benchmarks"
    / "results"
    / "interop.json",
) -> None:
    """Draw the same pictures with latedge, Optimum, Optimum-Intel and OpenVINO GenAI."""
    os.environ["LATEDGE_CACHE"] = str(work / "cache")
    peers = {name: prepare(name, work / "environments", _tell) for name in ENVIRONMENTS}
    results = {case.name: run_case(case, work / case.name, peers, _tell) for case in CASES}
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "latedge": {"python": platform.python_version(), **{n: version(n) for n in OWN}},
            **{name: peers[name].versions(PACKAGES[name]) for name in ENVIRONMENTS},
        },
        "models": results,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8", newline="\n")
    print(as_table(results))
    check(results)


def run_case(
    case: Case, base: Path, peers: Mapping[str, Environment], progress: Progress
) -> dict[str, Any]:
    """Makes the folders of a model, draws with each program and compares the pictures."""
    from benchmarks.synthetic import synthesize

    base.mkdir(parents=True, exist_ok=True)
    source = case.source or synthesize(case.name, base / "source", force=True)
    folders = {"source": Folder("source", "diffusers", source, "as it is")}
    folders |= make_ours(source, base, case.drawing.height, progress)
    folders |= make_theirs(source, base, case.drawing.height, peers, progress)
    for folder in folders.values():
        if folder.name not in ("source", *(name for name in folders if name.startswith("genai"))):
            check_commands(folder.path, base / "generated.png", case.drawing)
    drawn = draw_all(case.drawing, folders, peers, base, progress)
    exact = [each for each in drawn if each.folder.precision in ("fp32", "as it is")]
    return {
        "drawing": vars(case.drawing),
        "rows": [_row(each, drawn) for each in drawn],
        "lowest_pair_of_fp32_psnr_db": _rounded(lowest_db(exact)),
    }


def _row(each: Drawn, drawn: Sequence[Drawn]) -> dict[str, Any]:
    (ours,) = [d for d in drawn if (d.program, d.folder.name) == OPENED[1]]
    return {
        "opened_by": each.program,
        "made_by": each.folder.made_by,
        "folder": each.folder.name,
        "precision": each.folder.precision,
        "psnr_db_to_torch": _rounded(psnr_db(each.picture, drawn[0].picture)),
        "psnr_db_to_latedge": _rounded(psnr_db(each.picture, ours.picture)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def as_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table: a row for each program and folder, a column for each model."""
    names = list(results)
    lines = [
        "| opened by | folder | " + " | ".join(f"{name}, PSNR dB" for name in names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for rows in zip(*(results[name]["rows"] for name in names), strict=True):
        cells = [_figure(row["psnr_db_to_torch"]) for row in rows]
        first = rows[0]
        folder = f"{first['made_by']}'s {first['folder']}"
        lines.append(f"| {first['opened_by']} | {folder} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"


def check(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses results in which float32 pictures differ by more than their arithmetic.

    Raises:
        LatedgeError: names the model and the figure.
    """
    for name, result in results.items():
        value = result["lowest_pair_of_fp32_psnr_db"]
        if value is not None and value < PSNR_DB:
            raise LatedgeError(
                f"{name}: two float32 pictures agree to {value} dB, and not to {PSNR_DB:g}."
            )


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    from runtimes.clean_exit import exits_cleanly, run

    def build() -> typer.Typer:
        app = typer.Typer(add_completion=False)
        app.command()(exits_cleanly(interop))
        return app

    return run(build, arguments, name="python -m benchmarks.interop")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
