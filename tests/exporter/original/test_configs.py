"""Configs read off shapes are those of the models whose shapes they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.synthetic import MODELS
from benchmarks.synthetic.networks import Built, build
from exporter.components import component
from exporter.errors import WeightError
from exporter.families.sd1 import SD1
from exporter.families.sd2 import SD2
from exporter.families.sdxl import SDXL, SDXL_REFINER
from exporter.original.configs import text_config, unet_config, vae_config
from exporter.original.family import find_family
from exporter.weights import Tensor

FAMILIES = {
    "sd15": SD1,
    "sd15-inpaint": SD1,
    "ip2p": SD1,
    "sd21": SD2,
    "sd2-depth": SD2,
    "sd-turbo": SD2,
    "sdxl": SDXL,
    "sdxl-refiner": SDXL_REFINER,
    "sdxl-inpaint": SDXL,
    "sdxl-ip2p": SDXL,
    "sdxl-turbo": SDXL,
    "ssd-1b": SDXL,
    "segmind-vega": SDXL,
}
_IN_EVERY_RUN = ("sd15", "sd21", "sdxl-refiner", "ssd-1b")


def tensors_of(built: Built) -> dict[str, Tensor]:
    return {key: Tensor(Path("x"), "F16", shape, 0) for key, shape in built.shapes.items()}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in _IN_EVERY_RUN else pytest.mark.slow) for n in FAMILIES],
)
def test_true_sizes_are_recognised(name: str) -> None:
    networks, unsaid = MODELS[name].networks, FAMILIES[name].unsaid
    tensors = {folder: tensors_of(build(network)) for folder, network in networks.items()}
    assert find_family(tensors).family == FAMILIES[name]
    size = networks["unet"].config["sample_size"]
    pixels = networks["vae"].config["sample_size"]
    assert isinstance(size, int)
    assert isinstance(pixels, int)
    found = {
        "unet": unet_config(tensors["unet"], unsaid, size),
        "vae_decoder": vae_config(tensors["vae"], unsaid, pixels),
        **{
            folder: text_config(folder, tensors[folder], unsaid.text_encoders[folder])
            for folder in FAMILIES[name].tokenizers
        },
    }
    for part, config in found.items():
        wrapper = component(part)
        network = networks[wrapper.source]
        named = {"_class_name": network.class_name} if network.library == "diffusers" else {}
        expected = wrapper.normalise({**network.config, **named})
        assert wrapper.normalise(config) == expected, part


def test_pruned_levels_and_depths_are_seen() -> None:
    """One layer a block, no attention in the middle levels' up blocks, another depth."""
    from dataclasses import replace

    row = MODELS["tiny-sd15"].networks["unet"]
    changes = {"layers_per_block": 1, "transformer_layers_per_block": (2, 1)}
    built = build(replace(row, config={**row.config, **changes}))
    found = component("unet").normalise(unet_config(tensors_of(built), SD1.unsaid, 16))
    assert (found["layers_per_block"], found["transformer_layers_per_block"]) == (1, [2, 1])
    assert found["down_block_types"] == ["CrossAttnDownBlock2D", "DownBlock2D"]
    assert found["up_block_types"] == ["UpBlock2D", "CrossAttnUpBlock2D"]


def test_missing_weight_is_named() -> None:
    tensors = tensors_of(build(MODELS["tiny-sd15"].networks["unet"]))
    del tensors["conv_out.weight"]
    with pytest.raises(WeightError, match=r"unet: conv_out\.weight is missing; the architecture"):
        unet_config(tensors, SD1.unsaid, 16)


def test_unet_without_text_is_refused() -> None:
    tensors = tensors_of(build(MODELS["tiny-sd15"].networks["unet"]))
    tensors = {key: tensor for key, tensor in tensors.items() if "attn2" not in key}
    with pytest.raises(WeightError, match="no attention on text"):
        unet_config(tensors, SD1.unsaid, 16)
