"""Bundles with graphs for several sizes: which is chosen, loaded and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runtimes.built_sizes import at_asked_size, built_sizes
from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import MANIFEST_NAME, Graph, Refiner, encode_manifest, read_manifest
from runtimes.parts import Memory
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.runtimes.fakes import FACTOR, FakeEngine

Write = Callable[..., Path]

SIZES = ((32, 24), (32, 40), (48, 24))
REFUSED = "can't be made: this bundle was built for 32×24, 32×40, 48×24 (height×width)."


def of_sizes(folder: Path, *components: str) -> Path:
    """A bundle built for the first of the sizes, with graphs for the others too."""
    manifest = read_manifest(folder)
    parts = dict(manifest.components)
    for name in components:
        plain = parts[name].graphs["model"]
        graphs = {f"model.{h}x{w}": _resized(plain, h // FACTOR, w // FACTOR) for h, w in SIZES[1:]}
        parts[name] = msgspec.structs.replace(parts[name], graphs={"model": plain, **graphs})
    changed = msgspec.structs.replace(manifest, components=parts)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return folder


def _resized(graph: Graph, height: int, width: int) -> Graph:
    """With other sizes in place of 4 and 3, in the ports of latents."""
    both: dict[str, Any] = {
        side: tuple(
            msgspec.structs.replace(port, shape=(*port.shape[:2], height, width))
            if port.shape[2:] == (4, 3)
            else port
            for port in getattr(graph, side)
        )
        for side in ("inputs", "outputs")
    }
    return msgspec.structs.replace(graph, **both)


@pytest.fixture
def folder(fake_bundle: Write) -> Path:
    return of_sizes(fake_bundle(height=4, width=3), "unet", "vae_decoder")


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (32, 24)),
        ({"height": 32}, (32, 24)),
        ({"height": 48}, (48, 24)),
        ({"width": 24}, (32, 24)),
        ({"width": 40}, (32, 40)),
        ({"height": 48, "width": 24}, (48, 24)),
        ({"height": np.int64(32), "width": 40}, (32, 40)),
    ],
)
def test_the_first_size_that_has_what_is_asked(
    folder: Path, asked: dict[str, int], size: tuple[int, int]
) -> None:
    bundle = open_bundle(folder)
    assert built_sizes(bundle) == SIZES
    settings = settle(bundle, "x", **asked)  # pyright: ignore[reportArgumentType]
    assert (settings.height, settings.width) == size


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"height": 40}, f"height 40 {REFUSED}"),
        ({"width": 16}, f"width 16 {REFUSED}"),
        ({"height": 48, "width": 40}, f"height 48 and width 40 {REFUSED}"),
        ({"height": 0.5}, "height must be a whole number of pixels, not 0.5."),
    ],
)
def test_others_are_refused_with_the_list(
    folder: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as e:
        settle(open_bundle(folder), "x", **asked)
    assert str(e.value) == message


def test_a_bundle_of_one_size_or_of_any_is_as_it_was(fake_bundle: Write) -> None:
    for folder, sizes in ((fake_bundle(), ()), (fake_bundle(height=4, width=3), ((32, 24),))):
        bundle = open_bundle(folder)
        assert built_sizes(bundle) == sizes
        assert at_asked_size(bundle, 64, 64) is bundle


@pytest.mark.parametrize("memory", ["high", "low"])
def test_each_size_is_loaded_when_it_is_used(folder: Path, memory: Memory) -> None:
    with Pipeline.open(folder, memory=memory) as pipe:
        for height, width in (*SIZES, SIZES[1]):
            (picture,) = pipe("x", seed=0, height=height, width=width).images
            assert picture.size == (width, height)
        (again,) = pipe("x", seed=0).images
        assert again.size == (24, 32)
    unets = [each.graph for each in FakeEngine.made if each.component == "unet"]
    cells = [graph.inputs[0].shape[2:] for graph in unets]
    once = [(h // FACTOR, w // FACTOR) for h, w in SIZES]
    assert cells == (once if memory == "high" else [*once, once[1], once[0]])
    assert all(engine.closed for engine in FakeEngine.made)


def test_what_is_opened_for_a_size_loads_no_other(folder: Path) -> None:
    with Pipeline.open(open_bundle(folder).at(48, 24)) as pipe:
        pipe("x", seed=0, height=48)
    unets = [each for each in FakeEngine.made if each.component == "unet"]
    assert [each.graph.inputs[0].shape[2:] for each in unets] == [(6, 3)]


def test_a_decoder_of_one_size_works_in_tiles(fake_bundle: Write) -> None:
    folder = of_sizes(fake_bundle(height=4, width=3), "unet")
    with Pipeline.open(folder) as pipe:
        (picture,) = pipe("x", seed=0, height=48).images
    assert picture.size == (24, 48)


def test_a_refiner_lacks_none_of_the_sizes(fake_bundle: Write) -> None:
    folder = of_sizes(fake_bundle(sdxl="base", height=4, width=3), "unet", "vae_decoder")
    manifest = read_manifest(folder)
    unet = manifest.components["unet"]
    plain = msgspec.structs.replace(unet, graphs={"model": unet.graphs["model"]})
    assert manifest.conditioning is not None
    changed = msgspec.structs.replace(
        manifest,
        components={**manifest.components, "unet_refiner": plain},
        refiner=Refiner(
            component="unet_refiner",
            prediction_type="epsilon",
            scheduler=manifest.scheduler,
            conditioning=manifest.conditioning,
        ),
    )
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    with pytest.raises(BundleError, match=r"built for latents of \(4, 5\), its refiner for \(4, 3"):
        settle(open_bundle(folder), "x")
