"""Infers the manifest of a folder that `optimum-cli export onnx` or `export openvino` wrote.

Such a folder has the layout of a bundle, but no `latedge.json`. What a manifest would say is read
from the pipeline's and the networks' configs and from the graphs' own headers. Nothing tells
whether a file was altered since: hashes are those of the files as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runtimes.bundle import SMALL_FILE_BYTES, HashMemory, hash_file, read_json
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import (
    MANIFEST_NAME,
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    Component,
    Defaults,
    File,
    Graph,
    Latents,
    Manifest,
    Provenance,
)
from runtimes.optimum.header import Axes, GraphHeader
from runtimes.optimum.onnx_file import read_onnx
from runtimes.optimum.openvino_ir import read_openvino
from runtimes.samplers import default_sampler

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
TOKENIZER = "tokenizer"

_LATENT = ("batch", "channels", "height", "width")
_IMAGE = ("batch", "channels", "image_height", "image_width")
_STATES = ("batch", "sequence", "states")

COMPONENTS: Mapping[str, Axes] = {
    "text_encoder": {"input_ids": ("batch", "sequence"), "last_hidden_state": _STATES},
    "unet": {
        "sample": _LATENT,
        "timestep": ("steps",),
        "encoder_hidden_states": _STATES,
        "out_sample": _LATENT,
    },
    "vae_decoder": {"latent_sample": _LATENT, "sample": _IMAGE},
    "vae_encoder": {"sample": _IMAGE, "latent_parameters": _LATENT},
}
"""Folders that may hold a graph, with the names of their ports' axes where the graph names none."""

NEEDED = ("text_encoder", "unet", "vae_decoder")
"""Those without which nothing is drawn."""

PIPELINES = ("StableDiffusionPipeline", "ORTStableDiffusionPipeline", "OVStableDiffusionPipeline")
"""Pipeline classes that the runtime runs: as a Diffusers folder names it, and as saved by either
library's own class."""

_FORMS: Mapping[str, tuple[str, Callable[[Path, Axes], GraphHeader]]] = {
    "onnxruntime": ("model.onnx", read_onnx),
    "openvino": ("openvino_model.xml", read_openvino),
}
"""Engine → the file that its graphs have, and what reads it."""

# What pictures of these families are made with where nothing is said, as the exporter has it.
_STEPS, _GUIDANCE_SCALE, _ANY_SCHEDULE = 20, 7.5, "dpmpp-2m"


@dataclass(frozen=True)
class _Part:
    engine: str
    graph: Graph
    tools: Mapping[str, str]


def is_without_manifest(folder: Path) -> bool:
    """Whether a folder holds a pipeline that diffusers or Optimum wrote, and no manifest."""
    return (folder / INDEX).is_file() and not (folder / MANIFEST_NAME).exists()


def holds_graphs(folder: Path) -> bool:
    """Whether some component's folder has a graph: an export rather than a model to be exported."""
    files = [file for file, _ in _FORMS.values()]
    return any((folder / name / file).is_file() for name in COMPONENTS for file in files)


def infer_manifest(folder: Path, *, full: bool = False) -> Manifest:
    """Makes the manifest that a folder exported by Optimum lacks; nothing is written.

    Args:
        folder: the folder, with `model_index.json`.
        full: hash every file now, whatever is remembered of large ones.

    Raises:
        BundleError: the folder holds no graphs (a Diffusers folder), lacks one or another file, or
            is of a pipeline that the runtime doesn't run; says what to do.
    """
    pipeline = str(read_json(folder / INDEX).get("_class_name"))
    found = {name: _part(folder, name) for name in COMPONENTS}
    parts = {name: part for name, part in found.items() if part is not None}
    _check(folder, pipeline, parts)
    config = {name: read_json(folder / name / "config.json") for name in parts}
    scheduler = read_json(folder / SCHEDULER)
    latents = _latents(folder, config["vae_decoder"])
    files = _files(folder, parts, full=full)
    size = _whole(folder, "unet", config["unet"], "sample_size", 64) * latents.vae_factor
    linear = config["unet"].get("use_linear_projection", False)
    return Manifest(
        schema=f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}",
        family="sd2" if linear else "sd1",
        tasks=_tasks(config["unet"], parts),
        prediction_type=str(scheduler.get("prediction_type", "epsilon")),
        scheduler=SCHEDULER,
        tokenizers={"text_encoder": TOKENIZER},
        latents=latents,
        defaults=Defaults(
            height=size,
            width=size,
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE_SCALE,
            sampler=_sampler(scheduler),
        ),
        components={name: Component(graphs={"model": part.graph}) for name, part in parts.items()},
        files=files,
        provenance=Provenance(
            source_sha256=_digest(files),
            tools=dict(tool for part in parts.values() for tool in part.tools.items()),
            options={},
        ),
        target=parts["unet"].engine,
    )


def _part(folder: Path, name: str) -> _Part | None:
    """The graph in a component's folder, or None where there is none."""
    there = [form for form, (file, _) in _FORMS.items() if (folder / name / file).is_file()]
    if not there:
        return None
    if len(there) > 1:
        files = " and ".join(_FORMS[engine][0] for engine in there)
        raise BundleError(f"{folder / name} holds {files}; move one of them away.")
    file, read = _FORMS[there[0]]
    header = read(folder / name / file, COMPONENTS[name])
    graph = Graph(
        file=f"{name}/{file}",
        inputs=header.inputs,
        outputs=header.outputs,
        weights=tuple(f"{name}/{weights}" for weights in header.weights),
        precision=header.precision,
        engine=there[0],
    )
    return _Part(there[0], graph, header.tools)


def _check(folder: Path, pipeline: str, parts: Mapping[str, _Part]) -> None:
    if not parts and (folder / "vae").is_dir():
        raise BundleError(
            f"{folder} is a Diffusers folder, not a bundle: export it first: "
            f"latedge export {folder} -o {folder}.bundle"
        )
    if pipeline not in PIPELINES:
        raise BundleError(
            f"{folder} is an export of {pipeline} without a {MANIFEST_NAME}; such folders run "
            f"where they are of {PIPELINES[0]}. Export its source with `latedge export`."
        )
    missing = [name for name in NEEDED if name not in parts]
    if missing:
        names = " nor ".join(file for file, _ in _FORMS.values())
        raise BundleError(f"{folder / missing[0]} has neither {names}. Export the model again.")
    engines = {part.engine for part in parts.values()}
    if len(engines) > 1:
        raise BundleError(
            f"{folder} holds graphs of several engines: {', '.join(sorted(engines))}. Export the "
            "model again, for one."
        )


def _latents(folder: Path, vae: Mapping[str, object]) -> Latents:
    blocks = vae.get("block_out_channels")
    scaling = vae.get("scaling_factor", 0.18215)
    where = folder / "vae_decoder" / "config.json"
    if not isinstance(blocks, list) or not blocks:
        raise BundleError(f"{where}: block_out_channels is {blocks!r}, not a list of numbers.")
    if not isinstance(scaling, int | float) or not scaling > 0:
        raise BundleError(f"{where}: scaling_factor is {scaling!r}, not a number above 0.")
    return Latents(
        channels=_whole(folder, "vae_decoder", vae, "latent_channels", 4),
        scaling_factor=float(scaling),
        vae_factor=2 ** (len(cast("list[object]", blocks)) - 1),
    )


def _whole(folder: Path, name: str, config: Mapping[str, object], field: str, default: int) -> int:
    value = config.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        where = folder / name / "config.json"
        raise BundleError(f"{where}: {field} is {value!r}, not a whole number from 1.")
    return value


def _tasks(unet: Mapping[str, object], parts: Mapping[str, _Part]) -> tuple[str, ...]:
    if unet.get("in_channels", 4) != 4:
        return ()
    from_pictures = ("image-to-image", "inpainting") if "vae_encoder" in parts else ()
    return ("text-to-image", *from_pictures)


def _sampler(scheduler: Mapping[str, object]) -> str:
    """The sampler that follows the scheduler, or one that works with every schedule."""
    try:
        return default_sampler(scheduler)
    except UsageError:
        return _ANY_SCHEDULE


def _files(folder: Path, parts: Mapping[str, _Part], *, full: bool) -> dict[str, File]:
    """Size and SHA-256 of every file that the manifest speaks of."""
    tokenizer = sorted(path for path in (folder / TOKENIZER).glob("*") if path.is_file())
    names = {INDEX, SCHEDULER, *(path.relative_to(folder).as_posix() for path in tokenizer)}
    for name, part in parts.items():
        names |= {f"{name}/config.json", part.graph.file, *part.graph.weights}
    memory = HashMemory.open()
    files = {name: _file(folder / name, memory, full=full) for name in sorted(names)}
    memory.save()
    return files


def _file(path: Path, memory: HashMemory, *, full: bool) -> File:
    try:
        size = path.stat().st_size
    except OSError as e:
        raise BundleError(f"{path} is missing: {e.strerror}. Export the model again.") from e
    remember = size > SMALL_FILE_BYTES and not full
    return File(size=size, sha256=memory.sha256(path) if remember else hash_file(path))


def _digest(files: Mapping[str, File]) -> str:
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in files.items())
    return hashlib.sha256(lines.encode()).hexdigest()
