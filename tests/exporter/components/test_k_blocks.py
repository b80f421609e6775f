"""Resampling by channel, against diffusers' over all pairs of channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.downsampling import KDownsample2D
from diffusers.models.upsampling import KUpsample2D

from benchmarks.synthetic.models import MODELS
from exporter.components.k_blocks import by_channel, has_k_blocks, kernels
from exporter.components.unet import UNet

KINDS: list[Callable[[], torch.nn.Module]] = [KDownsample2D, KUpsample2D]


def settled(name: str) -> dict[str, Any]:
    config = {"_class_name": "UNet2DConditionModel", **MODELS[name].networks["unet"].config}
    return UNet().normalise(config)


@pytest.mark.parametrize("kind", KINDS)
def test_resampling_by_channel_equals_diffusers(kind: Callable[[], torch.nn.Module]) -> None:
    network = torch.nn.Sequential(kind())
    x = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    expected = network(x)
    by_channel(network)
    assert not isinstance(network[0], KDownsample2D | KUpsample2D)
    assert expected.shape != x.shape
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-6)


def test_kernels_are_the_networks_own() -> None:
    config = settled("tiny-x2-latent-upscaler")
    network = UNet().build(config)
    own = {name: buffer.numpy() for name, buffer in network.named_buffers()}
    found = kernels(config)
    assert found.keys() == own.keys()
    assert len(found) == 4
    for name, values in found.items():
        np.testing.assert_array_equal(values, own[name])


def test_sizes_are_multiples_where_there_are_k_blocks() -> None:
    plain, with_k = settled("tiny-sd15"), settled("tiny-x2-latent-upscaler")
    assert (has_k_blocks(plain), has_k_blocks(with_k)) == (False, True)
    assert UNet().multiples(plain) == {}
    assert UNet().multiples(with_k) == {"height": 4, "width": 4}
    assert kernels(plain) == {}
