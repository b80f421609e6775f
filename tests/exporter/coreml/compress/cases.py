"""A small component with samples, for tests of what compression costs it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from exporter.coreml.compress import compression
from exporter.coreml.compress.replaced import ReplacedNetwork
from exporter.prepare import Prepared, prepare
from exporter.reference import Sample
from exporter.source import open_source

Case = tuple[Prepared, list[Sample]]


@contextmanager
def text_encoder(source: Path) -> Generator[Case]:
    """The text encoder of a tiny model and two calls of it; its small weights are compressed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "SMALLEST", 255)
        yield _text_encoder(source)


def _text_encoder(source: Path) -> Case:
    item = prepare(open_source(source), ("text_encoder",))[0]["text_encoder"]
    network = ReplacedNetwork(item)
    samples: list[Sample] = []
    for seed in range(2):
        ids = np.random.default_rng(seed).integers(0, 100, (1, 77))
        samples.append(Sample({"input_ids": ids}, network.run({"input_ids": ids})))
    return item, samples
