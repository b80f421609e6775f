"""Torch on compressed weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.coreml.compress.compression import Compression, is_compressible
from exporter.coreml.compress.replaced import (
    ReplacedNetwork,
    as_sampled,
    compressed_values,
    given_values,
)
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.compress.tensor import compress
from exporter.reference import load_network
from tests.exporter.coreml.compress.cases import Case, text_encoder

KEY = "text_model.encoder.layers.0.mlp.fc1.weight"


@pytest.fixture(scope="module")
def case(tiny_sd15: Path) -> Iterator[Case]:
    with text_encoder(tiny_sd15) as case:
        yield case


def test_weights_as_they_are_give_equal_outputs(case: Case) -> None:
    item, samples = case
    assert ReplacedNetwork(item).compare(samples).psnr_db is None


def test_outputs_are_those_of_a_network_with_the_values_in_place(case: Case) -> None:
    item, samples = case
    values = np.zeros(item.weights[KEY].shape, np.float32)
    loaded = load_network(item.component, item.config, item.weights)
    (named,) = (p for name, p in loaded.named_parameters() if item.component.canonical(name) == KEY)
    named.data.zero_()
    feeds = {name: torch.from_numpy(value) for name, value in samples[0].feeds.items()}
    with torch.inference_mode():
        expected = item.component.reference(loaded, item.config, feeds)
    network = ReplacedNetwork(item, given_values({KEY: values}))
    found = network.run(samples[0].feeds)
    for name, output in expected.items():
        np.testing.assert_array_equal(found[name], output.numpy(), err_msg=name)
    assert network.compare(samples).psnr_db is not None


def test_a_compression_replaces_what_it_covers(case: Case) -> None:
    item, samples = case
    scheme = parse_scheme("palette-4")
    replace = compressed_values(Compression(scheme))
    for key, tensor in item.weights.items():
        values = tensor.read()
        found = replace(key, values)
        if not is_compressible(key, tensor.shape):
            assert found is values
            continue
        expected = compress(values.astype(np.float16), scheme).decompress()
        np.testing.assert_array_equal(found, expected)
        assert replace(key, values) is found
    psnr = ReplacedNetwork(item, replace).compare(samples).psnr_db
    assert psnr is not None
    assert 20 < psnr < 60


def test_guidance_halves_are_compared_as_what_they_become() -> None:
    uncond, cond = np.full((1, 4, 2, 2), 3.0, np.float32), np.full((1, 4, 2, 2), 5.0, np.float32)
    outputs = {"out_sample": np.concatenate([uncond, cond])}
    text = {"encoder_hidden_states": np.zeros((2, 77, 8), np.float32)}
    (guided,) = as_sampled(text, outputs).values()
    np.testing.assert_array_equal(guided, np.full((1, 4, 2, 2), 3 + 7.5 * 2, np.float32))
    assert as_sampled({"input_ids": np.zeros((2, 77))}, outputs) is outputs
