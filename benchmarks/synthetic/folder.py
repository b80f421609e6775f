"""Writes a synthetic model as a Diffusers folder: configs, tokenizers, and weights as drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.synthetic.laws import DTYPES, Dtype, draw
from benchmarks.synthetic.models import MODELS, Model
from benchmarks.synthetic.networks import Built, Shape, build
from benchmarks.synthetic.vocabulary import write_tokenizer
from exporter.staging import MODEL, check_free, check_room, staged
from exporter.weights import ITEM_BYTES, PRECISIONS, write_safetensors
from runtimes.errors import LatedgeError, UsageError, unknown_name

Progress = Callable[[str, int, int], None]
"""Called with the network, the bytes of weights written so far, and those there will be."""

_SAFETENSORS: dict[str, str] = {precision: name for name, precision in PRECISIONS.items()}
_TORCH_NAMES: Mapping[Dtype, str] = {"fp16": "float16", "fp32": "float32", "bf16": "bfloat16"}
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_OTHER_FILES_BYTES = 4 * 2**20  # configs, tokenizer and weight headers: 2.3 MB at most


@dataclass(frozen=True)
class Weights:
    """How weights are drawn and stored.

    Attributes:
        dtype: "fp16", "fp32" or "bf16".
        seed: any integer.
        shards: files per network, at most.
    """

    dtype: Dtype
    seed: int
    shards: int

    @property
    def stored(self) -> str:
        """The dtype's name in safetensors."""
        return _SAFETENSORS[self.dtype]

    @property
    def item_bytes(self) -> int:
        """Bytes per value."""
        return ITEM_BYTES[self.stored]


def synthesize(
    name: str,
    output: Path,
    *,
    dtype: str = "fp16",
    seed: int = 0,
    shards: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a model of true architecture with seeded random weights, as a Diffusers folder.

    The same arguments and library versions give the same bytes. The folder appears whole or not at
    all; memory stays at the libraries' own plus a few megabytes.

    Args:
        name: a name in `models.MODELS`.
        output: the new folder; its parents are made.
        dtype: "fp16", "fp32" or "bf16".
        seed: any integer; another seed, other weights.
        shards: weight files per network, at most; above 1, with an index beside them.
        force: replace an existing output, once the new one is whole.
        progress: called as weights are written.

    Returns:
        `output`.

    Raises:
        UsageError: an argument is wrong, or the output exists.
        LatedgeError: the disk is too small or can't be written, or a library is missing.
    """
    model = _find(name)
    weights = Weights(_find_dtype(dtype), seed, shards)
    if shards < 1:
        raise UsageError(f"shards is {shards}; it must be at least 1.")
    check_free(output, force=force, known_by=MODEL)
    built = {folder: build(network) for folder, network in model.networks.items()}
    total = sum(each.size for each in built.values()) * weights.item_bytes
    check_room(output, total + _OTHER_FILES_BYTES)
    counted = _counter(total, progress)
    try:
        with staged(output, force=force) as folder:
            _write_tables(folder, model)
            for component, each in built.items():
                (folder / component).mkdir()
                _write_config(folder / component, each, weights.dtype)
                _write_weights(folder / component, each, weights, partial(counted, component))
    except OSError as e:
        raise LatedgeError(f"{output} can't be written: {e.strerror or e}.") from e
    return output


def _find(name: str) -> Model:
    if name not in MODELS:
        raise unknown_name("synthetic model", name, MODELS)
    return MODELS[name]


def _find_dtype(name: str) -> Dtype:
    for dtype in DTYPES:
        if dtype == name:
            return dtype
    raise unknown_name("dtype", name, DTYPES)


def _write_tables(folder: Path, model: Model) -> None:
    """Writes model_index.json, the scheduler and the tokenizers."""
    import diffusers

    schedulers = {"scheduler": model.scheduler}
    if model.low_res_scheduler is not None:
        schedulers["low_res_scheduler"] = model.low_res_scheduler
    for name, (scheduler_class, scheduler_config) in schedulers.items():
        (folder / name).mkdir()
        # The fields of the public models' files alone: another class that is made from it has its
        # own defaults, where diffusers' `save_config` would write this one's.
        scheduler = {
            "_class_name": scheduler_class,
            "_diffusers_version": diffusers.__version__,
            **scheduler_config,
        }
        _write_json(folder / name / "scheduler_config.json", scheduler)
    for name, tokenizer in model.tokenizers.items():
        (folder / name).mkdir()
        write_tokenizer(folder / name, tokenizer.size, tokenizer.pad_token)
    index = {
        "_class_name": model.pipeline,
        "_diffusers_version": diffusers.__version__,
        **{
            name: ("diffusers", scheduler_class)
            for name, (scheduler_class, _) in schedulers.items()
        },
        **{name: (network.library, network.class_name) for name, network in model.networks.items()},
        **{name: ("transformers", "CLIPTokenizer") for name in model.tokenizers},
        **model.others,
    }
    _write_json(folder / "model_index.json", index)


def _write_config(folder: Path, built: Built, dtype: Dtype) -> None:
    if built.network.library == "diffusers":
        built.module.save_config(folder)
        return
    config = built.module.config
    config.architectures = [built.network.class_name]
    config.dtype = _TORCH_NAMES[dtype]
    config.save_pretrained(folder)


def _write_weights(
    folder: Path, built: Built, weights: Weights, progress: Callable[[int], None]
) -> None:
    entries = {name: (weights.stored, shape) for name, shape in built.shapes.items()}

    def values(name: str) -> Iterator[memoryview]:
        path = f"{folder.name}/{name}"
        for chunk in draw(path, built.shapes[name], weights.dtype, weights.seed):
            yield chunk.data.cast("B")

    stem = _STEMS[built.network.library]
    groups = _split(built.shapes, weights.shards)
    if len(groups) == 1:
        write_safetensors(folder / f"{stem}.safetensors", entries, values, progress)
        return
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, start=1):
        file = f"{stem}-{number:05}-of-{len(groups):05}.safetensors"
        subset = {name: entries[name] for name in group}
        write_safetensors(folder / file, subset, values, progress)
        weight_map |= dict.fromkeys(group, file)
    metadata = {"total_size": built.size * weights.item_bytes}
    index = {"metadata": metadata, "weight_map": weight_map}
    _write_json(folder / f"{stem}.safetensors.index.json", index)


def _split(shapes: Mapping[str, Shape], shards: int) -> list[list[str]]:
    """Names in groups of about equal size, in order; fewer groups where a tensor is too large."""
    total = sum(math.prod(shape) for shape in shapes.values())
    groups: dict[int, list[str]] = {}
    before = 0
    for name, shape in shapes.items():
        groups.setdefault(before * shards // total, []).append(name)
        before += math.prod(shape)
    return list(groups.values())


def _counter(total: int, progress: Progress | None) -> Callable[[str, int], None]:
    """Adds up the bytes that are written, and reports them."""
    done = 0

    def add(network: str, size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(network, done, total)

    return add


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )
