"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtimes.engine import ENGINES
from tests.runtimes.fakes import FakeEngine, write_fake_bundle


@pytest.fixture
def ieee_roots() -> Iterator[None]:
    """References of torch and diffusers that are the same on every machine."""
    from benchmarks.samplers.ieee_functions import IeeeRoots

    with IeeeRoots():
        yield


Once = Callable[[str, Callable[[Path], object]], Path]
Named = Callable[[str], Path]


@pytest.fixture(scope="session")
def compiled(once: Once, exported: Named) -> Named:
    """Gives a synthetic model compiled for ONNX Runtime, by the model's name."""
    from exporter.compile import compile

    def compile_of(name: str) -> Path:
        return once(
            f"compiled-{name}",
            lambda folder: compile(exported(name), folder, target="onnxruntime"),
        )

    return compile_of


@pytest.fixture
def ieee_functions() -> Iterator[None]:
    """As `ieee_roots`, logarithms and exponentials too."""
    from benchmarks.samplers.ieee_functions import IeeeFunctions

    with IeeeFunctions():
        yield


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeEngine]]:
    """The engine "fake", registered for one test."""
    monkeypatch.setitem(ENGINES, "fake", "tests.runtimes.fakes:FakeEngine")
    FakeEngine.made.clear()
    FakeEngine.nan_at.clear()
    yield FakeEngine
    FakeEngine.made.clear()
    FakeEngine.nan_at.clear()


@pytest.fixture
def fake_bundle(fake_engine: type[FakeEngine], tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundle for the fake engine; takes the changes of `write_fake_bundle`."""
    folders = (tmp_path / f"bundle{i}" for i in range(100))

    def write(**changes: object) -> Path:
        return write_fake_bundle(next(folders), **changes)  # pyright: ignore[reportArgumentType]

    return write
