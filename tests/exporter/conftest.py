"""Models that the exporter's tests open, as folders and as single files; never write into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthetic.single_file import write_single_file
from tests.exporter.checkpoints import make_small

Once = Callable[[str, Callable[[Path], object]], Path]
Named = Callable[[str], Path]


@pytest.fixture(scope="session")
def model(once: Once, synthesized: Named) -> Named:
    """The Diffusers folder of a tiny or small model, by its name."""

    def make(name: str) -> Path:
        if name.startswith("small-"):
            return once(f"synthetic-{name}", lambda folder: make_small(name, folder))
        return synthesized(name)

    return make


@pytest.fixture(scope="session")
def checkpoint(once: Once, model: Named) -> Named:
    """The same model as a single file in the original naming, with a training's leftovers."""

    def make(name: str) -> Path:
        def build(folder: Path) -> None:
            folder.mkdir()
            write_single_file(model(name), folder / "model.safetensors")

        return once(f"single-{name}", build) / "model.safetensors"

    return make
