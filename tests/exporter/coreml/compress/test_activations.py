"""Inputs of layers rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.coreml.compress.activations import calibrate, reading, rounded
from exporter.coreml.compress.compression import Compression, is_compressible
from exporter.coreml.compress.replaced import ReplacedNetwork, compressed_values
from exporter.coreml.compress.scheme import parse_scheme
from exporter.errors import SourceError
from exporter.prepare import Prepared
from exporter.reference import Sample
from tests.exporter.coreml.compress.cases import Case, text_encoder


@pytest.fixture(scope="module")
def case(tiny_sd15: Path) -> Iterator[Case]:
    with text_encoder(tiny_sd15) as case:
        yield case


def largest_inputs(item: Prepared, samples: list[Sample]) -> dict[str, float]:
    """By a hook of torch's own that sees every linear layer."""
    network = ReplacedNetwork(item)
    names = {layer: name for name, layer in network.module.named_modules()}
    found: dict[str, float] = {}

    def hook(layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(layer, torch.nn.Linear):
            key = item.component.canonical(f"{names[layer]}.weight")
            found[key] = max(found.get(key, 0), float(given[0].abs().max()))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    for sample in samples:
        network.run(sample.feeds)
    handle.remove()
    return found


def test_the_largest_input_over_all_samples_becomes_127(case: Case) -> None:
    item, samples = case
    found = calibrate(item, samples, lowest_db=0)
    largest = largest_inputs(item, samples)
    assert found.scales.keys() == {
        key for key, tensor in item.weights.items() if is_compressible(key, tensor.shape)
    }
    for key, scale in found.scales.items():
        assert scale == np.float16(largest[key] / 127)


def test_layers_that_lose_too_much_read_what_they_did(case: Case) -> None:
    item, samples = case
    lines: list[str] = []
    every = calibrate(item, samples, lowest_db=0, progress=lines.append)
    assert len(lines) == len(every.scales)
    losses = [loss for loss in every.psnr_db.values() if loss is not None]
    middle = float(np.median(losses))
    some = calibrate(item, samples, lowest_db=middle)
    assert some.psnr_db == every.psnr_db
    assert some.scales == {
        key: scale
        for key, scale in every.scales.items()
        if (loss := every.psnr_db[key]) is None or loss >= middle
    }
    assert 0 < len(some.scales) < len(every.scales)


def test_rounding_is_that_of_the_format() -> None:
    values = torch.tensor([0.0, 0.24, 0.26, -0.26, 0.75, 1.25, 100.0, -100.0])
    found = rounded({"a": 0.5})("a", values)
    assert found.tolist() == [0.0, 0.0, 0.5, -0.5, 1.0, 1.0, 63.5, -64.0]
    assert rounded({"a": 0.5})("b", values) is values


def test_all_layers_together_lose_about_what_they_lose_alone(case: Case) -> None:
    item, samples = case
    found = calibrate(item, samples, lowest_db=0)
    network = ReplacedNetwork(item, compressed_values(Compression(parse_scheme("w8a8"))))
    weights_alone = network.compare(samples).psnr_db
    with reading(network, item, rounded(found.scales)):
        together = network.compare(samples).psnr_db
    assert network.compare(samples).psnr_db == weights_alone
    noise = sum(0 if loss is None else 10 ** (-loss / 10) for loss in found.psnr_db.values())
    assert weights_alone is not None
    assert together is not None
    assert together < weights_alone
    assert together == pytest.approx(-10 * np.log10(noise), abs=3)


def test_inputs_that_are_not_finite_are_refused(case: Case, tmp_path: Path) -> None:
    item, samples = case
    (key, tensor) = next(
        (key, tensor) for key, tensor in item.weights.items() if key.endswith("layer_norm1.weight")
    )
    spoilt = tmp_path / "model.safetensors"
    spoilt.write_bytes(tensor.file.read_bytes())
    with spoilt.open("r+b") as file:
        file.seek(tensor.offset)
        file.write(np.full(tensor.shape, np.inf, tensor.read().dtype).tobytes())
    weights = {**item.weights, key: replace(tensor, file=spoilt)}
    with pytest.raises(SourceError, match=r"text_encoder: the layer of .* reads NaN or infinite"):
        calibrate(Prepared(item.component, item.config, weights), samples)
