"""U-Nets that are told the guidance scale: the input that they have beside the plain ones'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from benchmarks.synthetic.models import MODELS
from exporter.components.unet import UNet
from exporter.reference import told_scale


def config(name: str) -> Mapping[str, Any]:
    component = UNet()
    return component.normalise({"_class_name": "UNet2DConditionModel", **_written(name)})


def _written(name: str) -> dict[str, Any]:
    return dict(MODELS[name].networks["unet"].config)


def test_the_embedding_is_an_input_where_the_config_says_so() -> None:
    plain, told = (UNet().inputs(config(name)) for name in ("tiny-sd15", "tiny-lcm"))
    assert [port.name for port in plain] == ["sample", "timestep", "encoder_hidden_states"]
    assert told[:3] == plain
    assert (told[3].name, told[3].shape) == ("timestep_cond", ("batch", 32))
    UNet().check(config("tiny-lcm"))


def test_the_embedding_reaches_the_network() -> None:
    settled = config("tiny-lcm")
    torch.manual_seed(0)
    network = UNet().build(settled).eval()
    wrapped = UNet().wrap(network, settled)
    sample, context = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 32)
    timestep = torch.tensor([7.0])
    told = torch.from_numpy(told_scale(settled, 2)["timestep_cond"])
    with torch.no_grad():
        found = wrapped(sample, timestep, context, told)
        expected = cast("Any", network)(sample, timestep, context, timestep_cond=told).sample
        other = wrapped(sample, timestep, context, 0 * told)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (found - other).abs().max() > 1e-3


def test_plain_networks_are_told_nothing() -> None:
    assert told_scale(config("tiny-sd15"), 2) == {}
