"""Bundles of the shapes model, as other tests make them too, and settings of a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.bench.results import Settings
from exporter.compile import compile

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shapes_of(once: Once, shapes_bundle: Path) -> Callable[[str], Path]:
    """Gives the shapes model's bundle for a target, or "portable"."""

    def make(target: str) -> Path:
        if target == "portable":
            return shapes_bundle
        return once(f"shapes-{target}", lambda out: compile(shapes_bundle, out, target=target))

    return make


@pytest.fixture(scope="session")
def guided() -> Settings:
    """A guided picture of another size than the shapes model's own."""
    return Settings(
        prompt="a large red circle",
        negative_prompt="",
        num_inference_steps=3,
        guidance_scale=2.0,
        sampler="ddim",
        seed=0,
        height=64,
        width=48,
    )
