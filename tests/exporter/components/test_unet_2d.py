"""The U-Net that takes no text: what it covers, its sizes, and the older names of its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.synthetic.models import MODELS
from exporter.components import component
from exporter.components.unet_2d import UNet2D
from exporter.errors import SourceError

TINY = MODELS["tiny-ldm"].networks["unet"]


def tiny(**changes: object) -> dict[str, Any]:
    config = {"_class_name": "UNet2DModel", **TINY.config, **changes}
    UNet2D().check(config)
    return UNet2D().normalise(config)


def test_table_has_it_beside_the_other_unet() -> None:
    names = {name: component(name) for name in ("unet", "unet_2d")}
    assert {name: found.wrapper for name, found in names.items()} == {n: n for n in names}
    assert {found.name for found in names.values()} == {"unet"}
    assert component("vae_encoder").wrapper == "vae_encoder"


def test_ports_and_sizes_follow_the_config() -> None:
    config = tiny(in_channels=6, block_out_channels=(32, 32, 64, 64), down_block_types=None)
    assert [(p.name, p.shape) for p in UNet2D().inputs(config)] == [
        ("sample", ("batch", 6, "height", "width")),
        ("timestep", (1,)),
    ]
    assert [p.shape[1] for p in UNet2D().outputs(config)] == [3]
    assert UNet2D().multiples(config) == {"height": 8, "width": 8}
    assert UNet2D().example_sizes(config) == {"batch": 2, "height": 24, "width": 40}


def test_wrapper_gives_what_diffusers_gives() -> None:
    torch.manual_seed(0)
    config = tiny()
    network: Any = UNet2D().build(config).eval()
    sample, timestep = torch.randn(2, 3, 8, 12), torch.tensor([301.0])
    with torch.no_grad():
        found = UNet2D().wrap(network, config)(sample, timestep)
        expected = network(sample, timestep).sample
        other = UNet2D().wrap(network, config)(sample, timestep + 300)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (other - found).abs().max() > 1e-4, "the timestep plays no part"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("class_embed_type", "timestep", "None"),
        ("num_class_embeds", 10, "None"),
        ("center_input_sample", True, "None and False"),
        ("time_embedding_type", "fourier", "'positional'"),
    ],
)
def test_what_is_not_covered_is_refused(field: str, value: object, allowed: str) -> None:
    message = f"unet/config.json: {field} is {value!r}, which is not supported; supported: "
    with pytest.raises(SourceError, match=f"{message}{allowed}."):
        tiny(**{field: value})


def test_another_class_is_refused() -> None:
    with pytest.raises(
        SourceError, match=r"class 'UNet2DConditionModel'; supported: UNet2DModel\."
    ):
        UNet2D().check({"_class_name": "UNet2DConditionModel"})


def test_older_names_of_the_attention_are_known() -> None:
    """As public files of diffusers before 0.15 have them."""
    old = "down_blocks.1.attentions.0"
    for before, now in (("query", "to_q"), ("value", "to_v"), ("proj_attn", "to_out.0")):
        assert UNet2D().canonical(f"{old}.{before}.weight") == f"{old}.{now}.weight"
    assert UNet2D().canonical("time_embedding.linear_1.bias") == "time_embedding.linear_1.bias"
