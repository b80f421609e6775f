"""Small models whose architecture can be read off their shapes, as folders and as single files.

The tiny models of `benchmarks.synthetic` have other head counts and norm groups than the families,
which no shape tells; these have the families' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic import MODELS, synthesize
from benchmarks.synthetic.models import Model, Network
from exporter.clip_tokenizer import clip_tokenizer
from exporter.weights import ITEM_BYTES, read_header, write_safetensors

_UNET: Mapping[str, object] = {
    "block_out_channels": (64, 128),
    "cross_attention_dim": 64,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
_TEXT: Mapping[str, object] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 1,
    "num_hidden_layers": 2,
}


def small_models() -> dict[str, Model]:
    """Name → model: the true-size rows with fewer and narrower blocks."""
    small = {
        "small-sd15": _shrunk(MODELS["sd15"], {}),
        "small-sd15-inpaint": _shrunk(MODELS["sd15-inpaint"], {"layers_per_block": 1}),
        "small-sd21": _shrunk(MODELS["sd21"], {"attention_head_dim": (1, 2)}),
        "small-sd2-depth": _shrunk(MODELS["sd2-depth"], {"attention_head_dim": (1, 2)}),
    }
    # PNDM, as the family has it.
    pndm = MODELS["sd15"].scheduler
    return small | {"small-sd15-inpaint": replace(small["small-sd15-inpaint"], scheduler=pndm)}


def _shrunk(model: Model, unet: Mapping[str, object]) -> Model:
    changes = {
        "text_encoder": _TEXT,
        "unet": {**_UNET, **unet},
        "vae": {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1},
    }
    networks = {
        name: Network(network.library, network.class_name, {**network.config, **changes[name]})
        for name, network in model.networks.items()
    }
    return replace(model, networks=networks)


def make_small(name: str, folder: Path) -> Path:
    """Writes a small model as a Diffusers folder, with CLIP's own tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        for key, model in small_models().items():
            patch.setitem(MODELS, key, model)  # pyright: ignore[reportArgumentType]
        synthesize(name, folder)
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    pad = "!" if "sd21" in name else "<|endoftext|>"
    for file, content in clip_tokenizer(pad).items():
        (folder / "tokenizer" / file).write_bytes(content)
    return folder


def write_keys(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F16") -> Path:
    """Writes a safetensors file of zeros."""
    entries = {name: (dtype, shape) for name, shape in shapes.items()}

    def values(name: str) -> list[bytes]:
        return [bytes(int(np.prod(entries[name][1])) * ITEM_BYTES[dtype])]

    write_safetensors(path, entries, values)
    return path


def edit(
    source: Path,
    target: Path,
    *,
    drop: tuple[str, ...] = (),
    add: Mapping[str, tuple[int, ...]] | None = None,
    dtype: str = "F16",
) -> Path:
    """A copy of a checkpoint without some keys and with others, zeros of a dtype."""
    tensors = {k: t for k, t in read_header(source).items() if not k.startswith(drop)}
    entries = {name: (t.dtype, t.shape) for name, t in tensors.items()}
    entries |= {name: (dtype, shape) for name, shape in (add or {}).items()}

    def values(name: str) -> list[bytes]:
        if name not in tensors:
            return [bytes(int(np.prod(entries[name][1])) * ITEM_BYTES[dtype])]
        tensor = tensors[name]
        with tensor.file.open("rb") as file:
            file.seek(tensor.offset)
            return [file.read(tensor.size_bytes)]

    write_safetensors(target, entries, values)
    return target
