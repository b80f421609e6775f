"""A VAE's two halves as functions of arrays, whatever kind of folder the model is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtimes.batching import run_batched
from runtimes.bundle import Bundle, open_bundle
from runtimes.engine import Engine, load_engine_class
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME, Graph

Floats = NDArray[np.float32]

HALVES = ("vae_encoder", "vae_decoder")


@dataclass(frozen=True)
class Vae:
    """A loaded VAE.

    Attributes:
        encode: a picture [n, 3, H, W] in [-1, 1] → its latents [n, c, h, w], the mean of a
            distribution.
        decode: latents [n, c, h, w], not scaled → a picture [n, 3, H, W].
        factor: pixels per latent cell, in each direction.
        size: height and width in pixels that it was built for, or None where it takes any.
        engine: what runs it.
    """

    encode: Callable[[Floats], Floats]
    decode: Callable[[Floats], Floats]
    factor: int
    size: tuple[int, int] | None
    engine: str


@contextmanager
def open_vae(path: Path) -> Generator[Vae]:
    """Loads the VAE of a compiled bundle, of a portable one, or of a Diffusers folder (torch).

    Raises:
        UsageError: there is no such folder.
        BundleError: the bundle is refused or lacks a half.
        SourceError, WeightError: the Diffusers folder is refused.
    """
    if not path.is_dir():
        raise UsageError(f"no folder at {path}; give a bundle or a Diffusers folder.")
    if (path / MANIFEST_NAME).is_file():
        with _bundle_vae(open_bundle(path)) as vae:
            yield vae
    else:
        with _torch_vae(path) as vae:
            yield vae


@contextmanager
def _bundle_vae(bundle: Bundle) -> Generator[Vae]:
    graphs = [bundle.graph(name) for name in HALVES]
    with ExitStack() as opened:
        engines: list[Engine] = []
        for graph in graphs:
            engines.append(_load(bundle.path, graph))
            opened.callback(engines[-1].close)
        encoder, decoder = engines
        role = graphs[0].outputs[0].role
        yield Vae(
            encode=lambda picture: latents_of(role, _run(encoder, picture)),
            decode=lambda latents: _run(decoder, latents),
            factor=bundle.manifest.latents.vae_factor,
            size=_built_size(graphs[0]),
            engine=encoder.version,
        )


def _load(folder: Path, graph: Graph) -> Engine:
    if graph.engine is None:
        from exporter.targets.ort import open_lowered

        return open_lowered(folder, graph)
    return load_engine_class(graph.engine)(folder, graph, device="cpu", threads=None)


def _run(engine: Engine, values: Floats) -> Floats:
    graph = engine.graph
    taken, given = graph.inputs[0], graph.outputs[0]
    feeds = {taken.name: np.ascontiguousarray(values, np.dtype(taken.dtype))}
    found = run_batched(engine, feeds, [given.name])
    return np.asarray(found[given.name], np.float32)


def _built_size(graph: Graph) -> tuple[int, int] | None:
    height, width = graph.inputs[0].shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


@contextmanager
def _torch_vae(path: Path) -> Generator[Vae]:
    from exporter.components.autoencoders import vae_factor
    from exporter.prepare import prepare
    from exporter.reference import recording
    from exporter.source import open_source

    prepared, _ = prepare(open_source(path), HALVES)
    encoder, decoder = (prepared[name] for name in HALVES)
    with (
        recording(encoder.component, encoder.config, encoder.weights, []) as encode,
        recording(decoder.component, decoder.config, decoder.weights, []) as decode,
    ):
        yield Vae(
            encode=lambda picture: latents_of(*next(iter(encode({"sample": picture}).items()))),
            decode=lambda latents: decode({"latent_sample": latents})["sample"],
            factor=vae_factor(encoder.config),
            size=None,
            engine="torch",
        )


def latents_of(role: str, encoded: Floats) -> Floats:
    """What an encoder gives as latents: of a distribution the mean, the first half of the channels.

    Args:
        role: of the encoder's output, "latent_parameters" or "latents".
        encoded: that output.
    """
    return encoded[:, : encoded.shape[1] // 2] if role == "latent_parameters" else encoded
