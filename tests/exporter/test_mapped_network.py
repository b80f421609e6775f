"""Torch on weights that stay in their files gives what it gives on loaded ones, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.mapped_network import MappedNetwork
from exporter.prepare import Prepared, prepare
from exporter.reference import load_network
from exporter.source import open_source

Feeds = dict[str, torch.Tensor]


def _case(source: Path, name: str) -> tuple[Prepared, Feeds]:
    item = prepare(open_source(source), (name,))[0][name]
    generator = torch.Generator().manual_seed(0)
    sizes = dict(item.component.example_sizes(item.config)) | {"height": 16, "width": 8}
    feeds: Feeds = {}
    for port in item.component.inputs(item.config):
        shape = [sizes[n] if isinstance(n, str) else n for n in port.shape]
        ids = torch.randint(0, 100, shape, generator=generator)
        feeds[port.name] = ids if port.dtype == "int64" else torch.rand(shape, generator=generator)
    return item, feeds


@pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_decoder", "vae_encoder"])
def test_outputs_are_those_of_loaded_weights(tiny_sd15: Path, name: str) -> None:
    item, feeds = _case(tiny_sd15, name)
    loaded = load_network(item.component, item.config, item.weights)
    mapped = MappedNetwork(item.component, item.config, item.weights)
    with torch.inference_mode():
        expected = item.component.reference(loaded, item.config, feeds)
        with mapped.reading():
            found = item.component.reference(mapped.network, item.config, feeds)
    for output, values in expected.items():
        assert values.abs().max() > 0.01
        np.testing.assert_array_equal(found[output].numpy(), values.numpy(), err_msg=output)


def test_placeholders_hold_nothing_and_are_nan_where_they_are_missed(tiny_sd15: Path) -> None:
    item, feeds = _case(tiny_sd15, "unet")
    mapped = MappedNetwork(item.component, item.config, item.weights)
    held = sum(p.untyped_storage().nbytes() for p in mapped.network.parameters())
    assert held == 4 * len(item.weights)
    with torch.inference_mode():
        found = item.component.reference(mapped.network, item.config, feeds)
    assert found["out_sample"].isnan().all()
