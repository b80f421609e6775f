"""Models of this folder's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def tiny_lcm(
    once: Once, synthesized: Callable[[str], Path], exported: Callable[[str], Path]
) -> tuple[Path, Path]:
    """A model that is told the guidance scale: the Diffusers folder, and compiled."""
    from exporter.compile import compile

    def build(folder: Path) -> None:
        compile(exported("tiny-lcm"), folder, target="onnxruntime")

    return synthesized("tiny-lcm"), once("tiny-lcm-ort", build)
