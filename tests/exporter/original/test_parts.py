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


def tower(
    layers: int, heads: tuple[str, ...] = (), prefix: str = "cond_stage_model.model."
) -> dict[str, Tensor]:
    """The keys of an OpenCLIP tower of 8 numbers a token."""
    shapes: dict[str, tuple[int, ...]] = {"ln_final.bias": (8,), **dict.fromkeys(heads, (8, 8))}
    for layer in range(layers):
        shapes[f"transformer.resblocks.{layer}.attn.in_proj_weight"] = (24, 8)
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
    later = tower(layers, heads, "conditioner.embedders.0.model.")  # as the later code names it
    assert take_apart(Path("x"), later).networks["text_encoder"].keys() == network.keys()
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
        "model.diffusion_model.label_emb.weight",
        "model.diffusion_model.time_embed.cond_proj.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_other.weight",
        "conditioner.embedders.2.model.ln_final.bias",
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


# --- SDXL

XL = ["tiny-sdxl", "tiny-sdxl-refiner", "tiny-sdxl-inpaint", "tiny-sdxl-ip2p", "tiny-ssd"]
FIRST, SECOND = "conditioner.embedders.0.", "conditioner.embedders.1."


@pytest.mark.parametrize("name", XL)
def test_sdxl_is_renamed_as_diffusers_does(model: Named, checkpoint: Named, name: str) -> None:
    source = open_source(model(name))
    weights: Any = load_file(checkpoint(name))
    found = parts_of(checkpoint(name)).networks
    unet, vae = dict(source.config("unet")), dict(source.config("vae"))
    assert_same(found["unet"], single_file_utils.convert_ldm_unet_checkpoint(dict(weights), unet))
    assert_same(found["vae"], single_file_utils.convert_ldm_vae_checkpoint(dict(weights), vae))
    second = SECOND if source.has("text_encoder") else FIRST
    # diffusers splits packed attention by the projection's rows, which are as many as the width
    # in public models, and asks the encoder where there is no projection.
    tower = type("Tower", (), {"config": type("Config", (), {"hidden_size": 48})})
    key = f"{second}model.text_projection"
    projection = weights.pop(key)
    expected = single_file_utils.convert_open_clip_checkpoint(tower, weights, f"{second}model.")
    expected["text_projection.weight"] = projection.T.contiguous()
    assert_same(found["text_encoder_2"], expected)


def test_first_encoder_of_sdxl_is_renamed_as_diffusers_does(checkpoint: Named) -> None:
    weights: Any = load_file(checkpoint("tiny-sdxl"))
    expected = single_file_utils.convert_ldm_clip_checkpoint(weights)
    assert_same(parts_of(checkpoint("tiny-sdxl")).networks["text_encoder"], expected)


def test_heads_of_sdxl_are_left_out_but_for_the_projection(checkpoint: Named) -> None:
    parts = parts_of(checkpoint("tiny-sdxl"))
    assert f"{SECOND}model.logit_scale" in parts.unused
    assert not [key for key in parts.unused if "text_projection" in key]
    projection = parts.networks["text_encoder_2"]["text_projection.weight"]
    assert (projection.shape, projection.transposed) == ((40, 48), True)


def test_every_layer_of_sdxls_second_encoder_is_kept() -> None:
    """Also where there are as many as SD 2's has, whose last is left out."""
    tensors = tower(24, ("text_projection",), f"{SECOND}model.")
    network = take_apart(Path("x"), tensors).networks["text_encoder_2"]
    assert "text_model.encoder.layers.23.self_attn.q_proj.weight" in network


@pytest.mark.parametrize(
    ("key", "transposed"), [("text_projection", True), ("text_projection.weight", False)]
)
def test_projection_is_taken_as_either_tool_writes_it(key: str, transposed: bool) -> None:
    tensors = {f"{SECOND}model.{key}": Tensor(Path("x"), "F16", (8, 4), 0)}
    tensors |= tower(1, (), f"{SECOND}model.")
    found = take_apart(Path("x"), tensors).networks["text_encoder_2"]["text_projection.weight"]
    assert found.shape == ((4, 8) if transposed else (8, 4))
    assert found.transposed is transposed


def test_second_encoder_that_is_there_twice_is_named() -> None:
    tensors = tower(1, (), f"{SECOND}model.") | tower(1, (), f"{FIRST}model.")
    message = f"2 unknown weights: {SECOND}model.ln_final.bias"
    with pytest.raises(WeightError, match=message):
        take_apart(Path("x"), tensors)
