"""Writes MIL programs as Core ML packages, the same bytes for the same program.

A package is a folder: `Manifest.json`, `model.mlmodel` (the program and what its inputs and outputs
are) and `weight.bin` (the constants). coremltools writes the weights, one constant after the other,
to where they stay; `coremltools.convert` would write them to a temporary folder, copy them from
there into a package, and that once more where the user wants it, with identifiers drawn at random.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from exporter.errors import CompileError

MODEL = "Data/com.apple.CoreML/model.mlmodel"
"""Path of the program in a package."""

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
"""Path of its constants."""

_AUTHOR = "com.apple.CoreML"
_PASSES = (
    "common::dead_code_elimination",
    "nn_backend::handle_unused_inputs",
    "mil_backend::sanitize_name_strings",
    "common::dedup_op_and_var_names",
)
"""Of coremltools' passes, those that make a program valid; none changes what it computes."""

_IN_FILE = 10
"""Elements from which on coremltools puts a constant into the weight file."""


@dataclass(frozen=True)
class Description:
    """What a package says of itself, for people.

    Attributes:
        text: what the model is.
        features: what an input or output is, by its name.
    """

    text: str = ""
    features: Mapping[str, str] = field(default_factory=dict[str, str])


@contextmanager
def fresh_names() -> Generator[None]:
    """Lets coremltools number a function's operators from 0 on.

    It counts through the whole process, so that a program that is built again would have other
    names, and the package other bytes.
    """
    from coremltools.converters.mil import Builder

    Builder.name_count.clear()
    yield


def save(program: Any, path: Path, *, target: Any, description: Description) -> None:
    """Writes a program as a package.

    Constants are written one by one: where they are mapped files, memory holds but those.

    Args:
        program: coremltools' `Program`, whose functions were built under `fresh_names`. With
            several, "main" is the one that runs where none is named. The program is spent: its
            operators are renamed.
        path: the new folder, which ends in `.mlpackage`; its name is part of the identifiers.
        target: coremltools' deployment target; the functions are of its operators.
        description: put into the package.

    Raises:
        CompileError: Core ML can't run the program.
    """
    from coremltools.converters.mil.backend.mil.load import load

    _prepare(program, target)
    weights = path / WEIGHTS
    weights.parent.mkdir(parents=True)
    model = load(
        program,
        str(weights.parent),
        specification_version=int(target),
        convert_from="milinternal",
        convert_to="mlprogram",
    )
    _describe(model.description, description)
    content: bytes = model.SerializeToString(deterministic=True)
    (path / MODEL).write_bytes(content)
    if not weights.exists():
        weights.parent.rmdir()
    _write_manifest(path, content)


def read_model(path: Path) -> Any:
    """The model of a `model.mlmodel` that was written, coremltools' `Model`."""
    from coremltools.proto import Model_pb2

    model: Any = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    return model


def _prepare(program: Any, target: Any) -> None:
    """Makes a program valid, and says which constants are one.

    Raises:
        CompileError: it has a tensor of more axes than Core ML takes, or the like.
    """
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    for function in program.functions.values():
        assert function.opset_version == target, (function.opset_version, target)
    for name in _PASSES:
        PASS_REGISTRY[name](program)
    try:
        program._check_early_error_out_for_invalid_program()
    except ValueError as e:
        raise CompileError(f"Core ML can't run this network: {e}") from e
    program.export_as_multifunction = len(program.functions) > 1
    if program.export_as_multifunction:
        _share(program)


def _share(program: Any) -> None:
    """Gives equal constants one place in the weight file, also those of several functions.

    They are compared by hash rather than with each other, so that each is read once.
    """
    known: dict[tuple[object, ...], str] = {}
    for function in program.functions.values():
        for const in function.find_ops(op_type="const"):
            (var,) = const.outputs
            value = var.val
            if not isinstance(value, np.ndarray) or value.size < _IN_FILE:
                continue
            # An array that several functions use, such as a weight in a mapped file, is read once.
            place = (value.__array_interface__["data"][0], value.strides, value.shape, var.dtype)
            if place not in known:
                known[place] = f"{var.sym_type.__type_info__()} {_digest(value)}"
            const.weight_id = known[place]


def _digest(value: np.ndarray[Any, Any]) -> str:
    content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    return hashlib.blake2b(content.data, digest_size=32).hexdigest()


def _describe(model: Any, description: Description) -> None:
    """Puts texts into a model's description, in the order that its features have."""
    model.metadata.shortDescription = description.text
    for part in (model, *model.functions):
        for feature in (*part.input, *part.output):
            feature.shortDescription = description.features.get(feature.name, "")


def _write_manifest(path: Path, content: bytes) -> None:
    """Says what lies where, under identifiers made of the package's name and program."""
    digest = hashlib.sha256(content).hexdigest()
    items = {"model.mlmodel": "CoreML Model Specification"}
    if (path / WEIGHTS).exists():
        items["weights"] = "CoreML Model Weights"
    named = {name: str(uuid5(NAMESPACE_URL, f"{path.name}/{name}/{digest}")) for name in items}
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            named[name]: {
                "author": _AUTHOR,
                "description": text,
                "name": name,
                "path": f"{_AUTHOR}/{name}",
            }
            for name, text in items.items()
        },
        "rootModelIdentifier": named["model.mlmodel"],
    }
    text = json.dumps(manifest, indent=4, sort_keys=True) + "\n"
    (path / "Manifest.json").write_text(text, encoding="utf-8", newline="\n")
