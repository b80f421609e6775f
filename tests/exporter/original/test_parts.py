"""Keys of the original naming: against diffusers' own conversion, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file

from exporter.errors import WeightError
from exporter.original.parts import Parts, take_apart
from exporter.source import open_source
from exporter.weights import Tensor, read_header

Named = Callable[[str], Path]
MODELS = ["small-sd15", "small-sd15-inpaint", "small-sd21", "tiny-sd15", "tiny-sd21"]


def parts_of(path: Path) -> Parts:
    return take_apart(path, read_header(path))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        assert tensor.shape == tuple(expected[key].shape), key
        np.testing.assert_array_equal(tensor.read(), expected[key].numpy(), err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_unet_is_renamed_as_diffusers_does(model: Named, checkpoint: Named, name: str) -> None:
    config = dict(open_source(model(name)).config("unet"))
    weights: Any = load_file(checkpoint(name))
    expected = single_file_utils.convert_ldm_unet_checkpoint(weights, config)
    assert_same(parts_of(checkpoint(name)).networks["unet"], expected)


@pytest.mark.parametrize("name", MODELS)
def test_vae_is_renamed_as_diffusers_does(model: Named, checkpoint: Named, name: str) -> None:
    config = dict(open_source(model(name)).config("vae"))
    weights: Any = load_file(checkpoint(name))
    expected = single_file_utils.convert_ldm_vae_checkpoint(weights, config)
    assert_same(parts_of(checkpoint(name)).networks["vae"], expected)


def test_clip_is_renamed_as_diffusers_does(checkpoint: Named) -> None:
    weights: Any = load_file(checkpoint("small-sd15"))
    expected = single_file_utils.convert_ldm_clip_checkpoint(weights)
    assert_same(parts_of(checkpoint("small-sd15")).networks["text_encoder"], expected)


def test_open_clip_is_renamed_as_diffusers_does(checkpoint: Named) -> None:
    """diffusers leaves out layer 23 by its number; here it is the small tower's last, 2."""
    weights: Any = load_file(checkpoint("small-sd21"))
    tower = type("Tower", (), {"config": type("Config", (), {"hidden_size": 64})})
    expected = single_file_utils.convert_open_clip_checkpoint(tower, weights)
    found = parts_of(checkpoint("small-sd21"))
    kept = {k: v for k, v in expected.items() if ".layers.2." not in k and "projection" not in k}
    assert len(kept) < len(expected)
    assert_same(found.networks["text_encoder"], kept)


def test_leftovers_of_training_are_left_out_by_name(checkpoint: Named) -> None:
    unused = set(parts_of(checkpoint("small-sd21")).unused)
    assert {"betas", "alphas_cumprod", "model_ema.decay", "model_ema.num_updates"} <= unused
    prefix = "cond_stage_model.model."
    assert {f"{prefix}text_projection", f"{prefix}logit_scale"} <= unused
    assert f"{prefix}transformer.resblocks.2.attn.in_proj_weight" in unused
    assert f"{prefix}transformer.resblocks.1.attn.in_proj_weight" not in unused


def tower(layers: int, heads: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The keys of an OpenCLIP tower of 8 numbers a token."""
    shapes: dict[str, tuple[int, ...]] = {"ln_final.bias": (8,), **dict.fromkeys(heads, (8, 8))}
    for layer in range(layers):
        shapes[f"transformer.resblocks.{layer}.attn.in_proj_weight"] = (24, 8)
    prefix = "cond_stage_model.model."
    return {prefix + key: Tensor(Path("x"), "F16", shape, 100) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("layers", "heads", "kept"),
    [
        (24, ("text_projection", "logit_scale"), 23),
        (24, (), 23),
        (23, (), 23),  # a folder of diffusers written back as one file
        (6, ("text_projection",), 5),
    ],
)
def test_last_layer_of_a_whole_tower_is_left_out(
    layers: int, heads: tuple[str, ...], kept: int
) -> None:
    network = take_apart(Path("x"), tower(layers, heads)).networks["text_encoder"]
    numbers = {key.split(".")[3] for key in network if ".layers." in key}
    assert numbers == {str(n) for n in range(kept)}


def test_packed_attention_is_split_by_rows() -> None:
    network = take_apart(Path("x"), tower(1)).networks["text_encoder"]
    for n, letter in enumerate("qkv"):
        tensor = network[f"text_model.encoder.layers.0.self_attn.{letter}_proj.weight"]
        assert (tensor.shape, tensor.offset) == ((8, 8), 100 + n * 8 * 8 * 2)


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.input_blocks.1.0.in_layers.1.weight",
        "model.diffusion_model.label_emb.0.0.weight",
        "first_stage_model.encoder.mid.attn_1.bias.weight",
        "first_stage_model.encoder.down.0.attn.0.q.weight",
        "cond_stage_model.model.transformer.resblocks.0.mlp.c_other.weight",
        "alphas",
    ],
)
def test_unknown_keys_are_named(key: str) -> None:
    tensors = {key: Tensor(Path("x"), "F16", (1,), 0)}
    with pytest.raises(WeightError, match=f"x: 1 unknown weight: {key}. They belong to none"):
        take_apart(Path("x"), tensors)


def test_many_unknown_keys_are_counted() -> None:
    tensors = {f"k{n}": Tensor(Path("x"), "F16", (1,), 0) for n in range(8)}
    with pytest.raises(WeightError, match="8 unknown weights: k0, k1, k2, k3, k4 and 3 more"):
        take_apart(Path("x"), tensors)
