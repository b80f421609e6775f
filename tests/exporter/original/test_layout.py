"""The blocks of pruned U-Nets, read off their keys, and those that diffusers can't describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import MODELS
from benchmarks.synthetic.networks import build
from exporter.components import component
from exporter.errors import WeightError
from exporter.original.layout import block_layout
from exporter.original.shapes import Shapes
from exporter.weights import Tensor

THREE: Mapping[str, object] = {
    "block_out_channels": (32, 32, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}
FOUR: Mapping[str, object] = {
    "block_out_channels": (32, 32, 32, 32),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
    "layers_per_block": 1,
}
NONE, BARE = {"mid_block_type": None}, {"mid_block_type": "UNetMidBlock2D"}

LAYOUTS: Mapping[str, Mapping[str, object]] = {
    "SDXL": {**THREE, "transformer_layers_per_block": (1, 2, 3)},
    "refiner": {**FOUR, "transformer_layers_per_block": 2},
    "refiner, deep in the middle": {**FOUR, "transformer_layers_per_block": (1, 1, 2, 3)},
    "SSD-1B": {
        **THREE,
        **BARE,
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, (2, 2), (3, 3)),
        "reverse_transformer_layers_per_block": ((3, 3, 4), (2, 1, 1), 1),
    },
    "Vega": {
        **THREE,
        **BARE,
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, (1, 1), (2, 2)),
        "reverse_transformer_layers_per_block": ((2, 2, 2), (1, 1, 1), 1),
    },
    "layers of several depths": {
        **THREE,
        **BARE,
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, (1, 2), (2, 1)),
        "reverse_transformer_layers_per_block": ((1, 2, 1), (1, 1, 2), 1),
    },
    "KOALA": {**THREE, **NONE, "transformer_layers_per_block": (1, 2, 5)},
    "SDXS": {**THREE, **NONE},
    "BK-SDM small": {
        **FOUR,
        **NONE,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    },
    "more layers in some levels": {**THREE, "layers_per_block": (1, 2, 3)},
    "attention on the way up alone": {
        **THREE,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "transformer_layers_per_block": (1, 2, 3),
    },
}
FIELDS = (
    "down_block_types",
    "layers_per_block",
    "mid_block_type",
    "reverse_transformer_layers_per_block",
    "transformer_layers_per_block",
    "up_block_types",
)


def keys_of(config: Mapping[str, object]) -> set[str]:
    row = MODELS["tiny-sd15"].networks["unet"]
    own = {"cross_attention_dim": 32, "norm_num_groups": 8, "attention_head_dim": 4}
    return set(build(replace(row, config={**config, **own})).shapes)


def layout(keys: set[str]) -> dict[str, Any]:
    return block_layout(Shapes("unet", {key: Tensor(Path("x"), "F16", (1,), 0) for key in keys}))


def normalised(config: Mapping[str, object]) -> dict[str, Any]:
    found = component("unet").normalise({**config, "_class_name": "UNet2DConditionModel"})
    return {name: found[name] for name in FIELDS}


@pytest.mark.parametrize("case", LAYOUTS)
def test_blocks_are_read_off_the_keys(case: str) -> None:
    config = LAYOUTS[case]
    keys = keys_of(config)
    found = {**layout(keys), "block_out_channels": config["block_out_channels"]}
    assert normalised(found) == normalised(config)
    assert keys_of({**found, **normalised(found)}) == keys


def test_a_mirrored_way_up_is_left_unsaid() -> None:
    found = normalised(LAYOUTS["Vega"])
    assert found["transformer_layers_per_block"] == [1, 1, 2]
    assert found["reverse_transformer_layers_per_block"] is None
    pruned = normalised(LAYOUTS["SSD-1B"])
    assert pruned["transformer_layers_per_block"] == [1, 2, 3]
    assert pruned["reverse_transformer_layers_per_block"] == [[3, 3, 4], [2, 1, 1], 1]


REFUSED: Mapping[str, tuple[str, str]] = {
    "attention in one layer": (
        r"down_blocks\.1\.attentions\.0\.",
        "down_blocks.1 has attention in some of its layers and none in layer 0",
    ),
    "a layer less on the way up": (
        r"up_blocks\.1\.(resnets|attentions)\.2\.",
        "the levels have [3, 2, 3] layers on the way up, where UNet2DConditionModel has [3, 3, 3]",
    ),
    "a level less on the way up": (
        r"up_blocks\.2\.",
        "the levels have [3, 3] layers on the way up",
    ),
    "a middle block of two resnets": (
        r"mid_block\.attentions\.",
        "the middle block has 2 resnets and 0 attentions; UNet2DConditionModel has 2 and 1",
    ),
    "a shallow middle block": (
        r"mid_block\.attentions\.0\.transformer_blocks\.[12]\.",
        "the middle block's attention has 1 transformer layers and the last level's 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_blocks_that_no_config_describes_are_refused(case: str) -> None:
    pattern, message = REFUSED[case]
    whole = {**THREE, "layers_per_block": 2, "transformer_layers_per_block": (1, 2, 3)}
    keys = {key for key in keys_of(whole) if not re.match(pattern, key)}
    with pytest.raises(WeightError, match=re.escape(message)) as caught:
        layout(keys)
    assert "\n" not in str(caught.value)
