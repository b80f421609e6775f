"""Samples through graphs of any batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from runtimes.batching import built_batch, run_batched
from runtimes.engine import Array
from runtimes.manifest import Graph, Port


def graph(batch: int | str) -> Graph:
    def port(name: str, *shape: int | str) -> Port:
        return Port(role=name, name=name, dtype="float32", shape=shape)

    return Graph(
        file="unet/model",
        inputs=(port("timestep", 1), port("sample", batch, 2, 3), port("context", batch, 5)),
        outputs=(port("out", batch, 2, 3), port("sum", batch, 5)),
        weights=(),
        precision="fp32",
    )


class Engine:
    """out = sample * timestep, sum = context + timestep; notes what it is fed."""

    def __init__(self, batch: int | str) -> None:
        self.graph = graph(batch)
        self.device, self.version = "cpu", "none"
        self.fed: list[Mapping[str, Array]] = []

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        self.fed.append(feeds)
        batch = self.graph.inputs[1].shape[0]
        for name in ("sample", "context"):
            assert batch == "batch" or len(feeds[name]) == batch
            assert feeds[name].flags.c_contiguous
        sample, context, timestep = (
            feeds[name].astype(np.float64) for name in ("sample", "context", "timestep")
        )
        results: dict[str, Array] = {"out": sample * timestep, "sum": context + timestep}
        return {name: results[name] for name in outputs or results}

    def close(self) -> None:
        pass


def feeds(count: int) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(count)
    return {
        "sample": rng.standard_normal((count, 2, 3)),
        "context": rng.standard_normal((count, 5)),
        "timestep": np.array([3.0]),
    }


@pytest.mark.parametrize(("batch", "built"), [("batch", None), (1, 1), (2, 2)])
def test_built_batch_is_that_of_the_samples(batch: int | str, built: int | None) -> None:
    assert built_batch(graph(batch)) == built


@pytest.mark.parametrize(
    ("batch", "count", "calls"),
    [
        ("batch", 1, 1),
        ("batch", 7, 1),
        (1, 1, 1),
        (1, 3, 3),
        (2, 2, 1),
        (2, 3, 2),
        (3, 2, 1),
        (4, 9, 3),
    ],
)
def test_every_sample_gets_its_own_result(batch: int | str, count: int, calls: int) -> None:
    engine, fed = Engine(batch), feeds(count)
    found = run_batched(engine, fed, ["out", "sum"])
    assert len(engine.fed) == calls
    np.testing.assert_array_equal(found["out"], fed["sample"] * 3.0)
    np.testing.assert_array_equal(found["sum"], fed["context"] + 3.0)


def test_last_call_is_filled_with_the_last_sample() -> None:
    engine, fed = Engine(4), feeds(5)
    run_batched(engine, fed, ["out"])
    np.testing.assert_array_equal(engine.fed[1]["sample"], fed["sample"][[4, 4, 4, 4]])
    np.testing.assert_array_equal(engine.fed[1]["context"], fed["context"][[4, 4, 4, 4]])


def test_what_belongs_to_all_samples_goes_to_every_call() -> None:
    engine, fed = Engine(2), feeds(5)
    run_batched(engine, fed, ["out"])
    assert [call["timestep"] is fed["timestep"] for call in engine.fed] == [True, True, True]


def test_samples_of_a_fitting_batch_are_not_copied() -> None:
    engine, fed = Engine(2), feeds(2)
    run_batched(engine, fed, ["out"])
    assert engine.fed[0]["sample"] is fed["sample"]


def test_only_the_outputs_asked_for_are_run() -> None:
    assert list(run_batched(Engine(1), feeds(2), ["sum"])) == ["sum"]
