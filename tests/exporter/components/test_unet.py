"""The U-Net's inputs beyond latents, timestep and text: which there are, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from benchmarks.synthetic.models import MODELS
from exporter.components.unet import UNet
from exporter.errors import SourceError

TINY = MODELS["tiny-sd15"].networks["unet"]
SIZES = {"batch": 2, "height": 9, "width": 7, "sequence": 77}

ADDED: Mapping[str, Mapping[str, tuple[str, tuple[int | str, ...]]]] = {
    "num_class_embeds": {"class_labels": ("int64", (1,))},
    "class_embed_type": {"class_labels": ("float32", (1,))},
    "time_cond_proj_dim": {"timestep_cond": ("float32", ("batch", 12))},
    "num_class_embeds time_cond_proj_dim": {
        "class_labels": ("int64", (1,)),
        "timestep_cond": ("float32", ("batch", 12)),
    },
}
VALUES = {"num_class_embeds": 50, "class_embed_type": "timestep", "time_cond_proj_dim": 12}


def tiny(**changes: object) -> dict[str, Any]:
    config = {"_class_name": "UNet2DConditionModel", **TINY.config, **changes}
    UNet().check(config)
    return UNet().normalise(config)


@pytest.mark.parametrize("fields", ADDED)
def test_config_says_which_inputs_there_are(fields: str) -> None:
    config = tiny(**{field: VALUES[field] for field in fields.split()})
    ports = UNet().inputs(config)
    assert [port.name for port in ports[:3]] == ["sample", "timestep", "encoder_hidden_states"]
    assert {p.role: (p.dtype, p.shape) for p in ports[3:]} == ADDED[fields]


def test_plain_unet_has_no_others() -> None:
    assert len(UNet().inputs(tiny())) == 3


@pytest.mark.parametrize("fields", ADDED)
def test_each_goes_where_diffusers_takes_it(fields: str) -> None:
    config = tiny(**{field: VALUES[field] for field in fields.split()})
    torch.manual_seed(0)
    network: Any = UNet().build(config).eval()
    feeds: dict[str, torch.Tensor] = {}
    for port in UNet().inputs(config):
        shape = [SIZES[n] if isinstance(n, str) else n for n in port.shape]
        feeds[port.name] = torch.randn(shape)
    if "num_class_embeds" in fields:
        feeds["class_labels"] = torch.tensor([7])
    given = (
        {**feeds, "class_labels": feeds["class_labels"].repeat(2)} if "class" in fields else feeds
    )
    with torch.no_grad():
        found = UNet().reference(network, config, feeds)["out_sample"]
        expected = network(**given).sample
        feeds[list(feeds)[-1]] = feeds[list(feeds)[-1]] + 1
        moved = UNet().reference(network, config, feeds)["out_sample"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (moved - found).abs().max() > 1e-4, "the last input plays no part"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("class_embed_type", "projection", "None and 'timestep'"),
        ("class_embeddings_concat", True, "None and False"),
        ("addition_embed_type", "text_time", "None"),
    ],
)
def test_inputs_that_nothing_feeds_are_refused(field: str, value: object, allowed: str) -> None:
    message = f"unet/config.json: {field} is {value!r}, which is not supported; supported: "
    with pytest.raises(SourceError, match=f"{message}{allowed}."):
        tiny(**{field: value})
