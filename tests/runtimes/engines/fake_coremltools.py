"""A stand-in for coremltools on a Mac, so that the engine's side of it runs on any system.

A compiled model is a copy of its package, and the reference executor predicts in its place.
"""

from __future__ import annotations

import enum
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtimes.mil.executor import Executor
from runtimes.mil.package import open_package
from tests.runtimes.engines.core_ml_packages import MODEL


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class FakeCoreMl:
    """What is put in the place of the module `coremltools`.

    Attributes:
        compiled: packages that were compiled, in order.
        loaded: (compiled model, compute units, function) that were loaded, in order.
        fed: what the models were fed with, in order.
        compiler_says: an error of the compiler.
    """

    __version__ = "9.0"
    ComputeUnit = ComputeUnit

    def __init__(self) -> None:
        self.compiled: list[Path] = []
        self.loaded: list[tuple[Path, str, str | None]] = []
        self.fed: list[dict[str, Any]] = []
        self.compiler_says: str | None = None
        self.models = SimpleNamespace(
            CompiledMLModel=self._load, utils=SimpleNamespace(compile_model=self._compile)
        )

    def _compile(self, package: str, place: str) -> str:
        assert place.endswith(".mlmodelc")
        self.compiled.append(Path(package))
        if self.compiler_says is not None:
            raise RuntimeError(self.compiler_says)
        return shutil.copytree(package, place)

    def _load(self, path: str, compute_units: ComputeUnit, function_name: str | None) -> Any:
        self.loaded.append((Path(path), compute_units.name, function_name))
        if not (Path(path) / MODEL).read_bytes():
            raise RuntimeError("the model is broken\nsomewhere")
        run = Executor(open_package(Path(path)), function=function_name)

        def predict(feeds: dict[str, Any]) -> dict[str, Any]:
            assert sorted(feeds) == sorted(one.name for one in run.interface.inputs)
            for array in feeds.values():
                # What the real one asks of arrays: it has no buffer format for float16.
                assert array.dtype in (np.float32, np.int32)
                assert array.flags.writeable
            self.fed.append(feeds)
            return run(feeds)

        return SimpleNamespace(predict=predict)
