"""The reference executor as an engine."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtimes.engine import Array, EngineClass
from runtimes.engines.mil import DEVICES, MilEngine
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import DType, Graph, Port
from tests.conftest import Once
from tests.runtimes.mil.packages import (
    SMALL_INPUTS,
    small_feeds,
    small_results,
    write_small,
)

FILE = "unet/Unet.mlpackage/Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "unet/Unet.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
SHAPES = {"out_sample": (2, 4, 5, 7), "projected": (2, 5)}


def graph(dtype: DType = "float32") -> Graph:
    return Graph(
        file=FILE,
        inputs=tuple(
            Port(role=name, name=name, dtype=dtype, shape=shape)
            for name, (shape, _) in SMALL_INPUTS.items()
        ),
        outputs=tuple(
            Port(role=name, name=name, dtype=dtype, shape=shape) for name, shape in SHAPES.items()
        ),
        weights=(WEIGHTS,),
        precision="fp16",
        engine="coreml",
    )


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return once("mil-bundle", lambda folder: write_small(folder / "unet/Unet.mlpackage"))


@pytest.fixture(scope="module")
def half_bundle(once: Once) -> Path:
    return once(
        "mil-half-bundle",
        lambda folder: write_small(folder / "unet/Unet.mlpackage", "iOS16", "fp16"),
    )


@pytest.fixture
def private(bundle: Path, tmp_path: Path) -> Path:
    """A copy that the test may break."""
    return Path(shutil.copytree(bundle, tmp_path / "private"))


def opened(folder: Path, described: Graph | None = None, device: str = "reference") -> MilEngine:
    return MilEngine(folder, described or graph(), device=device, threads=None)


def assert_near(found: dict[str, Array], atol: float) -> None:
    for name, expected in small_results(small_feeds()).items():
        np.testing.assert_allclose(found[name].astype(np.float64), expected, rtol=0, atol=atol)


def test_it_is_an_engine(bundle: Path) -> None:
    make: EngineClass = MilEngine
    engine = make(bundle, graph(), device="Reference", threads=1)
    assert (engine.device, engine.version) == ("reference", "latedge MIL reference")
    found = engine(small_feeds())
    assert list(found) == list(SHAPES)
    # Sums of 36 products of numbers near 1 in float32.
    assert_near(found, 2e-5)


def test_halves_are_rounded_on_request(half_bundle: Path) -> None:
    feeds = {name: array.astype(np.float16) for name, array in small_feeds().items()}
    exact, rounded = (opened(half_bundle, graph("float16"), one)(feeds) for one in DEVICES)
    for found in (exact, rounded):
        assert {array.dtype for array in found.values()} == {np.dtype(np.float16)}
        # Half of the spacing of halves from 16 to 32, twice where the sum is rounded too.
        assert_near(found, 0.016)
    assert np.any(exact["out_sample"] != rounded["out_sample"])


def test_outputs_can_be_chosen(bundle: Path) -> None:
    engine = opened(bundle)
    assert list(engine(small_feeds(), ["projected"])) == ["projected"]
    with pytest.raises(EngineError, match="has no output 'x'"):
        engine(small_feeds(), ["x"])


def test_calls_from_several_threads_give_the_same(bundle: Path) -> None:
    engine = opened(bundle)
    found: list[dict[str, Array]] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine(small_feeds()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for one in found[1:]:
        for name, array in one.items():
            np.testing.assert_array_equal(array, found[0][name])


def test_a_closed_engine_says_so(bundle: Path) -> None:
    engine = opened(bundle)
    engine.close()
    with pytest.raises(EngineError, match="is closed"):
        engine(small_feeds())


def test_unknown_devices_and_counts_are_wrong_usage(bundle: Path) -> None:
    with pytest.raises(UsageError, match="unknown device 'cpu'; known are reference, reference:f"):
        opened(bundle, device="cpu")
    with pytest.raises(UsageError, match="threads must be"):
        MilEngine(bundle, graph(), device="reference", threads=0)


def test_other_feeds_are_refused(bundle: Path) -> None:
    engine = opened(bundle)
    with pytest.raises(EngineError, match="input timestep is float32, given was float64"):
        engine(small_feeds() | {"timestep": np.ones(1)})
    with pytest.raises(EngineError, match="takes inputs sample, timestep, context"):
        engine({"sample": np.ones(1, np.float32)})


def ports(kind: str, **changed: object) -> Graph:
    """The graph with its first port of a kind changed."""
    made = graph()
    first, *rest = getattr(made, kind)
    return msgspec.structs.replace(
        made, **{kind: (msgspec.structs.replace(first, **changed), *rest)}
    )


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            ports("inputs", name="x"),
            "has inputs context, sample, timestep, where the manifest says",
        ),
        (ports("outputs", name="x"), "has outputs out_sample, projected, where"),
        (ports("inputs", dtype="float16"), "sample is float32, where the manifest says float16"),
        (ports("outputs", dtype="int32"), "out_sample is float32, where the manifest says int32"),
    ],
)
def test_packages_that_are_not_the_manifests_are_refused(
    described: Graph, message: str, bundle: Path
) -> None:
    with pytest.raises(EngineError, match=message):
        opened(bundle, described)


@pytest.mark.parametrize(("file", "error"), [(FILE, EngineError), (WEIGHTS, EngineError)])
def test_missing_files_are_named(file: str, error: type[Exception], private: Path) -> None:
    (private / file).unlink()
    with pytest.raises(error, match=re.escape(f"{private / file} is missing")):
        opened(private)


def cut(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(raw[:-64])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "weight.bin is cut off or altered"),
        (
            lambda folder: (folder / "unet/Unet.mlpackage/Manifest.json").unlink(),
            "lies in no package",
        ),
    ],
)
def test_damaged_packages_are_refused(
    damage: Callable[[Path], object], message: str, private: Path
) -> None:
    damage(private)
    with pytest.raises(EngineError, match=message):
        opened(private)
