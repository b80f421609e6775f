"""Small models whose architecture can be read off their shapes, as folders and as single files.

The tiny models of `benchmarks.synthetic` have other head counts and norm groups than the families,
which no shape tells; these have the families' own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic import MODELS, synthesize
from benchmarks.synthetic.models import Model, Network
from exporter.clip_tokenizer import clip_tokenizer
from exporter.prepare import prepare
from exporter.source import Source
from exporter.sources.canonical import canonical_texts
from exporter.weights import ITEM_BYTES, read_header, write_safetensors
from runtimes.manifest import MANIFEST_NAME

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


_XL_UNET: Mapping[str, object] = {
    "block_out_channels": (64, 64, 128),
    "attention_head_dim": (1, 1, 2),
    "transformer_layers_per_block": (1, 1, 2),
    "cross_attention_dim": 64 + 128,
    "projection_class_embeddings_input_dim": 64 + 6 * 256,
}
_REFINER_UNET: Mapping[str, object] = {
    "block_out_channels": (64, 64, 64, 64),
    "attention_head_dim": (1, 1, 1, 1),
    "transformer_layers_per_block": 2,
    "cross_attention_dim": 128,
    "projection_class_embeddings_input_dim": 64 + 5 * 256,
}
_SSD_UNET: Mapping[str, object] = {
    **_XL_UNET,
    "transformer_layers_per_block": (1, (1, 1), (2, 2)),
    "reverse_transformer_layers_per_block": ((2, 2, 3), (2, 1, 1), 1),
}
_SECOND: Mapping[str, object] = {
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "projection_dim": 64,
}


def small_models() -> dict[str, Model]:
    """Name → model: the true-size rows with fewer and narrower blocks."""
    small = {
        "small-sd15": _shrunk(MODELS["sd15"], {}),
        "small-ip2p": _shrunk(MODELS["ip2p"], {}, pixels=512),
        "small-xl": _shrunk(MODELS["sdxl"], _XL_UNET),
        "small-xl-refiner": _shrunk(MODELS["sdxl-refiner"], _REFINER_UNET),
        "small-xl-ssd": _shrunk(MODELS["ssd-1b"], _SSD_UNET),
        "small-xl-inpaint": _shrunk(MODELS["sdxl-inpaint"], _XL_UNET),
        "small-xl-ip2p": _shrunk(MODELS["sdxl-ip2p"], _XL_UNET),
        "small-sd15-inpaint": _shrunk(MODELS["sd15-inpaint"], {"layers_per_block": 1}),
        "small-sd21": _shrunk(MODELS["sd21"], {"attention_head_dim": (1, 2)}),
        "small-sd2-depth": _shrunk(MODELS["sd2-depth"], {"attention_head_dim": (1, 2)}),
    }
    # PNDM, as the family has it.
    pndm = MODELS["sd15"].scheduler
    other = ("small-sd15-inpaint", "small-ip2p")
    return small | {name: replace(small[name], scheduler=pndm) for name in other}


def _shrunk(model: Model, unet: Mapping[str, object], pixels: int | None = None) -> Model:
    """A row with smaller networks, and the VAE's own picture size where the family has another."""
    size = {} if pixels is None else {"sample_size": pixels}
    changes = {
        "text_encoder": _TEXT,
        "text_encoder_2": _SECOND,
        "unet": {**({} if "text_encoder_2" in model.networks else _UNET), **unet},
        "vae": {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, **size},
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
    pads = {"tokenizer": "!" if "sd21" in name else "<|endoftext|>", "tokenizer_2": "!"}
    for tokenizer, pad in pads.items():
        if (folder / tokenizer).is_dir():
            for file, content in clip_tokenizer(pad).items():
                (folder / tokenizer / file).write_bytes(content)
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


def assert_same(found: Source, expected: Source) -> None:
    """Configs, small files, and the bytes of every weight."""
    components, recognised = prepare(found, None)
    references, family = prepare(expected, None)
    assert recognised.family == family.family
    texts = [canonical_texts(s, family.family, references) for s in (found, expected)]
    assert texts[0] == texts[1]
    for name, reference in references.items():
        assert components[name].config == reference.config, name
        assert components[name].weights.keys() == reference.weights.keys(), name
        for key, tensor in reference.weights.items():
            other = components[name].weights[key]
            assert (other.dtype, other.shape) == (tensor.dtype, tensor.shape), key
            np.testing.assert_array_equal(other.read(), tensor.read(), err_msg=key)


def _bytes(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != "verification.json"
    }


def assert_same_bundle(found: Path, expected: Path) -> None:
    """All files byte for byte, and the manifests but for the kind of source."""
    first, second = _bytes(found), _bytes(expected)
    assert first.keys() == second.keys()
    manifests = [json.loads(files.pop(MANIFEST_NAME)) for files in (first, second)]
    hashes = [manifest["provenance"].pop("source_sha256") for manifest in manifests]
    kinds = [manifest.pop("provenance")["source_kind"] for manifest in manifests]
    assert [name for name in first if first[name] != second[name]] == []
    assert manifests[0] == manifests[1]
    assert hashes[0] == hashes[1]
    assert kinds == ["checkpoint", "folder"]
