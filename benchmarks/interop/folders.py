"""The folders that are opened: latedge's bundles, and what the peers' own exporters write."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments.environment import Environment
from exporter.compile import compile
from exporter.components.text_encoder import PREFIX
from exporter.export import export
from exporter.progress import Progress
from exporter.weights import read_header
from runtimes.errors import LatedgeError


@dataclass(frozen=True)
class Folder:
    """A folder that some program wrote.

    Attributes:
        name: what it is called in the report.
        made_by: the exporter: "latedge" or an environment.
        path: where it lies.
        precision: how its weights are stored: "fp32", "fp16" or "int8".
    """

    name: str
    made_by: str
    path: Path
    precision: str


OURS: Mapping[str, dict[str, Any]] = {
    "onnxruntime fp32": {"target": "onnxruntime", "precision": "fp32"},
    "onnxruntime fp16": {"target": "onnxruntime", "precision": "fp16"},
    "openvino fp32": {"target": "openvino", "precision": "fp32"},
    "openvino fp16": {"target": "openvino", "precision": "fp16"},
    "genai fp32": {"target": "openvino", "precision": "fp32", "layout": "genai"},
    "genai fp16": {"target": "openvino", "precision": "fp16", "layout": "genai"},
    "genai fp32 fixed": {"target": "openvino", "precision": "fp32", "layout": "genai"},
}
"""Name → options of `compile`. What is called "fixed" is compiled for the drawing's size."""


def make_ours(source: Path, base: Path, size: int, progress: Progress) -> dict[str, Folder]:
    """Exports a model and compiles it in every form that a peer may open."""
    portable = base / "portable"
    export(source, portable, verify="none", force=True)
    found: dict[str, Folder] = {}
    for name, options in OURS.items():
        path = base / name.replace(" ", "-")
        side = size if name.endswith("fixed") else None
        compile(portable, path, force=True, height=side, width=side, **options)
        found[name] = Folder(name, "latedge", path, options["precision"])
        progress(f"latedge: {name}")
    return found


def make_theirs(
    source: Path, base: Path, size: int, peers: Mapping[str, Environment], progress: Progress
) -> dict[str, Folder]:
    """Exports a model with both Optimums, and fixes the sizes of one of these exports."""
    check_prefix(source)
    onnx, intel = peers["optimum-onnx"], peers["optimum-intel"]
    model = ["--model", str(source), "--task", "text-to-image"]
    found: dict[str, Folder] = {}

    def add(environment: Environment, name: str, precision: str, command: list[str]) -> Path:
        path = base / f"{environment.name}-{name.replace(' ', '-')}"
        shutil.rmtree(path, ignore_errors=True)
        check_weights(name, environment.run([*command, str(path)]))
        found[name] = Folder(name, environment.name, path, precision)
        progress(f"{environment.name}: {name}")
        return path

    add(onnx, "onnx fp32", "fp32", ["optimum-cli", "export", "onnx", *model])
    intel_export = ["optimum-cli", "export", "openvino", *model, "--weight-format"]
    path = add(intel, "ir fp32", "fp32", [*intel_export, "fp32"])
    add(intel, "ir fp16", "fp16", [*intel_export, "fp16"])
    add(intel, "ir int8", "int8", [*intel_export, "int8"])
    fixed = base / "optimum-intel-ir-fp32-fixed"
    shutil.rmtree(fixed, ignore_errors=True)
    reshape = ["-m", "benchmarks.interop.reshape_intel"]
    intel.run([*reshape, str(path), str(fixed), str(size), str(size)])
    found["ir fp32 fixed"] = Folder("ir fp32 fixed", intel.name, fixed, "fp32")
    progress(f"{intel.name}: ir fp32 fixed")
    return found


def check_prefix(source: Path) -> None:
    """Refuses a source whose text encoder the peers' transformers would not recognise.

    transformers before 5.6 takes CLIP's weights under `text_model.` alone. It calls all others
    missing, in a warning, and Optimum then exports a text encoder of random weights and exits
    with 0.

    Raises:
        LatedgeError: names the first weight without the prefix.
    """
    file = source / "text_encoder" / "model.safetensors"
    bare = [key for key in read_header(file) if not key.startswith(PREFIX)]
    if bare:
        raise LatedgeError(
            f"{file} names a weight {bare[0]}, without {PREFIX!r}: Optimum would export a random "
            "text encoder from it. Write the weights under their older names."
        )


def check_weights(name: str, output: str) -> None:
    """Refuses an export whose output tells of weights that were drawn at random.

    Raises:
        LatedgeError: gives the line.
    """
    for line in output.splitlines():
        if "newly initialized" in line or "MISSING" in line:
            raise LatedgeError(f"{name}: the exporter made up weights: {line.strip()}")
