"""A CLIP folder → both encoders as an engine's own files, each compared with torch.

What `latedge bench` judges pictures by. It goes the way of every model: captured under fake
tensors, weights streamed into one canonical file, compiled by a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from exporter.components import component as load_component
from exporter.errors import VerificationError
from exporter.export import export_component
from exporter.match import match
from exporter.portable_manifest import component_entry
from exporter.prepare import Prepared
from exporter.progress import Progress
from exporter.reference import PROMPTS, load_network
from exporter.report import THRESHOLDS_DB, Array, compare, passes
from exporter.sources.clip_folder import ClipFolder
from exporter.targets import load_target
from exporter.weights import Planned
from runtimes import noise
from runtimes.bundle import Bundle
from runtimes.engine import load_engine_class
from runtimes.manifest import (
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    Component,
    Defaults,
    Latents,
    Manifest,
    Provenance,
)

PRECISION = "fp32"


def export_clip(source: ClipFolder, folder: Path, progress: Progress) -> Bundle:
    """Exports both encoders to their portable form.

    A CLIP draws no pictures: it has no scheduler and no latents. So its manifest, which a target
    takes the graphs from, isn't written.

    Args:
        source: the model.
        folder: an empty folder.
        progress: called with lines on what is done.

    Raises:
        WeightError: configs and weights don't go together.
    """
    prepared = {name: _prepare(source, name) for name in source.configs}
    for name, item in prepared.items():
        plan = {key: Planned(tensor, tensor.dtype) for key, tensor in item.weights.items()}
        export_component(folder, name, item, plan, progress)
    manifest = Manifest(
        schema=f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}",
        family="clip",
        tasks=(),
        prediction_type="",
        scheduler="",
        tokenizers={},
        latents=Latents(channels=0, scaling_factor=1.0, vae_factor=1),
        defaults=Defaults(height=0, width=0, num_inference_steps=0, guidance_scale=0.0, sampler=""),
        components={name: component_entry(name, item, "source") for name, item in prepared.items()},
        files={},
        provenance=Provenance(source_sha256="", tools={}, options={}),
    )
    return Bundle(folder, manifest)


def compile_clip(
    portable: Bundle, source: ClipFolder, output: Path, *, target: str, progress: Progress
) -> dict[str, Component]:
    """Compiles both encoders and compares what the engine makes of them with torch.

    Args:
        portable: what `export_clip` gave.
        source: the model.
        output: an empty folder; each encoder gets a folder in it.
        target: "onnxruntime" or "openvino", which also runs them here.
        progress: called with lines on what is done.

    Returns:
        Component → its graphs, whose paths are relative to `output`.

    Raises:
        CompileError: the target refuses a graph.
        VerificationError: an encoder departs from torch.
    """
    compiler = load_target(target)
    entries: dict[str, Component] = {}
    for name in source.configs:
        (output / name).mkdir()
        compiled = compiler.compile(portable, name, output, precision=PRECISION, sizes={})
        entries[name] = compiled.entry
        item = _prepare(source, name)
        _verify(output, compiled.entry, item, _feeds(source, name), progress)
    return entries


def _prepare(source: ClipFolder, name: str) -> Prepared:
    component = load_component(name)
    config = component.normalise(source.configs[name])
    return Prepared(component, config, match(component, config, source.tensors[name]))


def _feeds(source: ClipFolder, name: str) -> dict[str, Array]:
    """Two samples: prompts, one of them too long; or pictures of noise, fine and coarse."""
    if name == "clip_text":
        return {"input_ids": source.tokenizer((PROMPTS[0], PROMPTS[3])).input_ids}
    unit = noise.Generator(0).uniform(2 * 96 * 64 * 3).reshape(2, 96, 64, 3)
    unit[1] = np.repeat(np.repeat(unit[1, ::32, ::32], 32, axis=0), 32, axis=1)
    pictures = np.round(unit * 255).astype(np.uint8)
    return {"pixel_values": np.stack([source.pixels(picture) for picture in pictures])}


def _verify(
    folder: Path, entry: Component, item: Prepared, feeds: Mapping[str, Array], progress: Progress
) -> None:
    """Compares an encoder with torch's own, as `latedge export` compares components."""
    graph, name = entry.graphs["model"], item.component.name
    assert graph.engine is not None
    engine = load_engine_class(graph.engine)(folder, graph, device="cpu", threads=None)
    try:
        found = engine(feeds)
    finally:
        engine.close()
    network = load_network(item.component, item.config, item.weights)
    tensors = {key: torch.from_numpy(value) for key, value in feeds.items()}
    with torch.inference_mode():
        expected = item.component.reference(network, item.config, tensors)
    limit_db = THRESHOLDS_DB[PRECISION]
    for output, reference in expected.items():
        figures = compare([(reference.numpy(), found[output])])
        reached = "equal" if figures.psnr_db is None else f"{figures.psnr_db:.1f} dB"
        if not passes(figures, limit_db):
            raise VerificationError(
                f"{name} departs from torch: {output} has PSNR {reached} where {limit_db:g} dB "
                f"are asked for (max abs {figures.max_abs:.3g} of {figures.peak:.3g}, "
                f"{figures.non_finite} NaN or Inf)."
            )
        progress(f"{name}: agrees with torch, {reached}")
