"""A stand-in for coremltools on a Mac, so that the engine's side of it runs on any system.

A fake package's model file is JSON: for each function the names that it takes and gives. What it
gives is the sum of what it takes, with the function's own `plus`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


def function(takes: list[str], gives: str, plus: float = 0.0) -> dict[str, Any]:
    return {"takes": takes, "gives": gives, "plus": plus}


def write_package(folder: Path, **functions: dict[str, Any]) -> None:
    """A package of functions by name; "main" alone is one without functions."""
    (folder / WEIGHTS).parent.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / MODEL).write_text(json.dumps(functions))


class FakeCoreMl:
    """What is put in the place of the module `coremltools`.

    Attributes:
        compiled: packages that were compiled, in order.
        loaded: (compiled model, compute units, function) that were loaded, in order.
        fed: what the models were fed with, in order.
        broken: compiled models whose weights say so can't be loaded.
    """

    __version__ = "9.0"
    ComputeUnit = ComputeUnit

    def __init__(self) -> None:
        self.compiled: list[Path] = []
        self.loaded: list[tuple[Path, str, str | None]] = []
        self.fed: list[dict[str, Any]] = []
        self.utils = SimpleNamespace(load_spec=self._spec)
        self.models = SimpleNamespace(
            CompiledMLModel=self._load, utils=SimpleNamespace(compile_model=self._compile)
        )

    def _spec(self, package: str) -> Any:
        described = {
            name: SimpleNamespace(
                name=name,
                input=[SimpleNamespace(name=each) for each in found["takes"]],
                output=[SimpleNamespace(name=found["gives"])],
            )
            for name, found in _functions(Path(package) / MODEL).items()
        }
        alone = len(described) == 1
        (first, *_) = described.values()
        return SimpleNamespace(
            description=SimpleNamespace(
                input=first.input if alone else [],
                output=first.output if alone else [],
                functions=[] if alone else list(described.values()),
            )
        )

    def _compile(self, package: str, place: str) -> str:
        assert place.endswith(".mlmodelc")
        self.compiled.append(Path(package))
        if (Path(package) / WEIGHTS).read_bytes() == b"too many":
            raise RuntimeError('{\n    NSLocalizedDescription = "Error reading the weights.";\n}')
        (Path(place) / "weights").mkdir(parents=True)
        (Path(place) / "functions.json").write_bytes((Path(package) / MODEL).read_bytes())
        (Path(place) / "weights" / "weight.bin").write_bytes(b"weights")
        return place

    def _load(self, path: str, compute_units: ComputeUnit, function_name: str | None) -> Any:
        self.loaded.append((Path(path), compute_units.name, function_name))
        if (Path(path) / "weights" / "weight.bin").read_bytes() != b"weights":
            raise RuntimeError("the weights are broken\nsomewhere")
        found = _functions(Path(path) / "functions.json")
        chosen = found[function_name] if function_name else next(iter(found.values()))
        return SimpleNamespace(predict=lambda feeds: self._predict(chosen, feeds))

    def _predict(self, function: Mapping[str, Any], feeds: dict[str, Any]) -> dict[str, Any]:
        assert sorted(feeds) == sorted(function["takes"])
        for array in feeds.values():
            # What the real one asks of arrays: it has no buffer format for float16.
            assert array.dtype in (np.float32, np.int32)
            assert array.flags.writeable
        self.fed.append(feeds)
        total = function["plus"] + sum(float(array.sum()) for array in feeds.values())
        return {function["gives"]: np.full((2, 3), total, np.float32)}


def _functions(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
