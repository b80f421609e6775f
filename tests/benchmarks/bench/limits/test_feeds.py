"""Which calls a picture makes: guidance, fixed batches, texts, open sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.bench.limits.feeds import picture_calls
from benchmarks.bench.limits.graph import CountError
from benchmarks.bench.results import Settings
from runtimes.bundle import Bundle, open_bundle
from runtimes.engine import ENGINES
from runtimes.errors import UsageError
from runtimes.manifest import Graph, Port
from runtimes.pipeline import Pipeline
from tests.runtimes.fakes import CONTEXT, FakeEngine, write_fake_bundle

Make = Callable[[str], Path]

SETTINGS = Settings(
    prompt="ab",
    negative_prompt="",
    num_inference_steps=4,
    guidance_scale=7.5,
    sampler="pndm",
    seed=0,
    height=32,
    width=24,
)


def changed(**changes: Any) -> Settings:
    return msgspec.structs.replace(SETTINGS, **changes)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Bundle]:
    return lambda **changes: open_bundle(write_fake_bundle(tmp_path / "bundle", **changes))


@pytest.mark.parametrize(
    ("changes", "batch", "texts", "unet"),
    [
        ({}, "batch", 2, (2, 1)),
        ({}, 1, 2, (1, 1)),
        ({}, 2, 2, (2, 1)),
        ({}, 4, 2, (4, 1)),
        ({"guidance_scale": 1.0}, "batch", 1, (1, 1)),
        ({"guidance_scale": 1.0}, 2, 1, (2, 1)),
        ({"negative_prompt": "ab"}, "batch", 1, (2, 1)),
    ],
)
def test_guidance_and_batches(
    write: Callable[..., Bundle],
    changes: dict[str, object],
    batch: int | str,
    texts: int,
    unet: tuple[int, int],
) -> None:
    found = picture_calls(write(batch=batch), changed(**changes))
    samples, per_sample = unet
    assert found["text_encoder"].shapes == {"ids": (texts, 77)}
    assert found["unet"].shapes == {
        "sample": (samples, 4, 4, 3),
        "timestep": (1,),
        "encoder_hidden_states": (samples, 77, CONTEXT),
    }
    assert found["vae_decoder"].shapes == {"latent_sample": (1, 4, 4, 3)}
    assert [calls.per_sample for calls in found.values()] == [1, per_sample, 1]


def with_text_batch(bundle: Bundle, batch: int) -> Bundle:
    """The text encoder built for a batch."""
    component = bundle.manifest.components["text_encoder"]
    graph = component.graphs["model"]
    ports = tuple(
        msgspec.structs.replace(port, shape=(batch, *port.shape[1:])) for port in graph.inputs
    )
    fixed = msgspec.structs.replace(
        component, graphs={"model": msgspec.structs.replace(graph, inputs=ports)}
    )
    components = bundle.manifest.components | {"text_encoder": fixed}
    manifest = msgspec.structs.replace(bundle.manifest, components=components)
    return Bundle(bundle.path, manifest)


def test_a_text_encoder_built_for_one_prompt_is_called_for_each(
    write: Callable[..., Bundle],
) -> None:
    calls = picture_calls(with_text_batch(write(), 1), SETTINGS)["text_encoder"]
    assert calls.shapes == {"ids": (1, 77)}
    assert calls.per_sample == 2


def test_the_pipeline_makes_the_same_calls(
    write: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "fake", "tests.runtimes.fakes:FakeEngine")
    monkeypatch.setattr(FakeEngine, "made", [])
    bundle = write(timestep="int64", sample="float16")
    with Pipeline.open(bundle) as pipe:
        pipe("ab", "", num_inference_steps=4, sampler="pndm", height=32, width=24, seed=0)
    found = picture_calls(bundle, SETTINGS)
    for engine in FakeEngine.made:
        last = engine.calls[-1]
        fed = found[engine.component].feeds
        assert {k: (v.shape, v.dtype) for k, v in fed.items()} == {
            k: (v.shape, v.dtype) for k, v in last.items()
        }
        assert all(np.isfinite(array).all() for array in fed.values())
    np.testing.assert_array_equal(
        found["text_encoder"].feeds["ids"], FakeEngine.made[0].calls[-1]["ids"]
    )


def test_long_prompts_warn_elsewhere(write: Callable[..., Bundle]) -> None:
    # Warnings are errors here.
    found = picture_calls(write(), changed(prompt="a" * 200))
    assert found["text_encoder"].shapes == {"ids": (2, 77)}


def opened(port: Port) -> Port:
    """Without the width of the text embeddings."""
    if port.role not in ("encoder_hidden_states", "last_hidden_state"):
        return port
    return msgspec.structs.replace(port, shape=(*port.shape[:-1], f"{port.name}.2"))


def without_width(bundle: Bundle) -> Bundle:
    def open_graph(graph: Graph) -> Graph:
        inputs, outputs = (tuple(map(opened, ports)) for ports in (graph.inputs, graph.outputs))
        return msgspec.structs.replace(graph, inputs=inputs, outputs=outputs)

    components = {
        name: msgspec.structs.replace(
            component, graphs={k: open_graph(g) for k, g in component.graphs.items()}
        )
        for name, component in bundle.manifest.components.items()
    }
    return Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, components=components))


def test_the_text_embeddings_width_where_the_graphs_leave_it_open(
    write: Callable[..., Bundle],
) -> None:
    bundle = without_width(write())
    config = bundle.path / "unet" / "config.json"
    config.write_text(json.dumps({"cross_attention_dim": 6}))
    calls = picture_calls(bundle, SETTINGS)["unet"]
    assert calls.shapes["encoder_hidden_states"] == (2, 77, 6)
    config.write_text("{}")
    with pytest.raises(CountError, match=r"doesn't say how wide its text embeddings are\.$"):
        picture_calls(bundle, SETTINGS)


def test_a_picture_that_the_bundle_can_not_make(write: Callable[..., Bundle]) -> None:
    with pytest.raises(UsageError, match=r"^height 33 is not a multiple of 8"):
        picture_calls(write(), changed(height=33))


def test_a_bundle_that_is_not_compiled_yet(shapes_of: Make, guided: Settings) -> None:
    found = picture_calls(open_bundle(shapes_of("portable")), guided)
    assert found["unet"].shapes["sample"] == (2, 4, 8, 6)
    assert found["unet"].shapes["encoder_hidden_states"] == (2, 77, 128)
