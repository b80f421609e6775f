"""What the outputs lose where one weight is compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exporter.coreml.compress.compression import is_compressible
from exporter.coreml.compress.palette import palettize
from exporter.coreml.compress.replaced import ReplacedNetwork, given_values
from exporter.coreml.compress.sensitivity import measure_sensitivity
from exporter.errors import SourceError
from exporter.reference import Sample
from tests.exporter.coreml.compress.cases import Case, text_encoder


@pytest.fixture(scope="module")
def case(tiny_sd15: Path) -> Iterator[Case]:
    with text_encoder(tiny_sd15) as case:
        yield case


def test_each_weight_is_measured_alone_at_each_width(case: Case) -> None:
    item, samples = case
    lines: list[str] = []
    found = measure_sensitivity(item, samples, bits=(2, 6), progress=lines.append)
    expected = [k for k, t in sorted(item.weights.items()) if is_compressible(k, t.shape)]
    assert list(found) == expected
    assert len(lines) == len(expected)
    assert lines[0].startswith(f"text_encoder, weight 1 of {len(expected)}, {expected[0]}, bits: ")
    for key, sensitivity in found.items():
        coarse, fine = sensitivity.losses[2], sensitivity.losses[6]
        assert sensitivity.elements == np.prod(item.weights[key].shape)
        assert coarse.size_bits == 2 * sensitivity.elements + 4 * 16
        assert fine.size_bits == 6 * sensitivity.elements + 64 * 16
        assert coarse.noise > 4 * fine.noise > 0


def test_a_loss_is_that_of_the_network_with_that_weight_compressed(case: Case) -> None:
    item, samples = case
    (key, *_) = (k for k, t in sorted(item.weights.items()) if is_compressible(k, t.shape))
    found = measure_sensitivity(item, samples, bits=(4,))[key].losses[4]
    compressed = palettize(item.weights[key].read().astype(np.float16), 4, key=key)
    network = ReplacedNetwork(item, given_values({key: compressed.decompress()}))
    assert found.psnr_db == network.compare(samples).psnr_db
    assert found.psnr_db is not None
    assert found.noise == pytest.approx(10 ** (-found.psnr_db / 10))


def test_outputs_that_are_not_finite_are_refused(case: Case) -> None:
    item, samples = case
    bad = [Sample(s.feeds, {k: v * np.nan for k, v in s.outputs.items()}) for s in samples]
    with pytest.raises(SourceError, match=r"text_encoder: with .* in 8 bits its outputs are NaN"):
        measure_sensitivity(item, bad, bits=(8,))
