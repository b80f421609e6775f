"""W8A8: what convolutions and linear layers read, rounded to 8 bits as their weights are.

An input's scale is one number for all of it, from its largest magnitude over samples of real use.
A layer that loses too much reads halves: its losses are measured alone, weight and input rounded,
as those of weights are. Layers are known by the keys of their weights, which no rewrite changes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import torch

from exporter.coreml.compress.compression import is_compressible
from exporter.coreml.compress.replaced import ReplacedNetwork, given_values
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.compress.tensor import compress
from exporter.errors import SourceError
from exporter.prepare import Prepared
from exporter.progress import Progress, silent
from exporter.reference import Sample

LOWEST_DB = 50.0
"""PSNR of what a sampler sees with one layer rounded, below which that layer is not.

On the shapes model's U-Net 71 of 81 layers reach it and together keep 45 dB; all 81 keep 37 dB, and
their pictures 29 dB with 17 points less of the prompts right.
"""

_SMALLEST = float(np.finfo(np.float16).tiny)
"""The least scale, so that a half has it with all its bits: for inputs that were always about 0."""

Read = Callable[[str, torch.Tensor], torch.Tensor]
"""From a layer's weight key and input to what it reads in place of that."""


class Activations(msgspec.Struct, frozen=True, kw_only=True):
    """How what layers read is rounded.

    Attributes:
        scales: weight key → scale of the layer's input, which is rounded to int8 times it; layers
            that are not here read it as it is.
        psnr_db: weight key → of the network's outputs with this layer alone rounded, weight and
            input, against their largest magnitude; None where they stay equal. Of all that were
            tried.
    """

    scales: dict[str, float]
    psnr_db: dict[str, float | None]


def calibrate(
    item: Prepared,
    samples: Sequence[Sample],
    *,
    lowest_db: float = LOWEST_DB,
    progress: Progress = silent,
) -> Activations:
    """Finds scales for what a component's layers read, and which layers bear them.

    Args:
        item: the component with its weights.
        samples: what it was fed with and what it gave; see `exporter.reference.run_reference`.
        lowest_db: what a layer must reach that is rounded.
        progress: called with a line for every layer.

    Raises:
        SourceError: a layer reads NaN or infinite values.
        CompileError: a weight is NaN or infinite.
    """
    network = ReplacedNetwork(item)
    scales = _scales(network, item, samples)
    losses: dict[str, float | None] = {}
    for number, (key, scale) in enumerate(scales.items(), 1):
        losses[key] = _loss(network, item, key, scale, samples)
        shown = "equal" if losses[key] is None else f"{losses[key]:.1f} dB"
        progress(f"{item.component.name}, layer {number} of {len(scales)}, {key}: {shown}")
    kept = {key for key, loss in losses.items() if loss is None or loss >= lowest_db}
    return Activations(
        scales={key: scale for key, scale in scales.items() if key in kept}, psnr_db=losses
    )


@contextmanager
def reading(network: ReplacedNetwork, item: Prepared, read: Read) -> Generator[None]:
    """Within it, layers with compressible weights read what `read` makes of their inputs."""

    def hook(key: str) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
        return lambda module, given: (read(key, given[0]), *given[1:])

    layers = _layers(network, item)
    handles = [layer.register_forward_pre_hook(hook(key)) for key, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rounded(scales: Mapping[str, float]) -> Read:
    """Rounds as Core ML's `quantize` and `dequantize` do, in float32, by scales that are halves."""

    def read(key: str, values: torch.Tensor) -> torch.Tensor:
        if key not in scales:
            return values
        return torch.clamp(torch.round(values / scales[key]), -128, 127) * scales[key]

    return read


def _layers(network: ReplacedNetwork, item: Prepared) -> dict[str, torch.nn.Module]:
    """Convolutions and linear layers by the key of their weight."""
    named = {
        item.component.canonical(f"{name}.weight"): module
        for name, module in network.module.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
    shapes = {key: tensor.shape for key, tensor in item.weights.items()}
    return {
        key: named[key]
        for key in sorted(named)
        if key in shapes and is_compressible(key, shapes[key])
    }


def _scales(
    network: ReplacedNetwork, item: Prepared, samples: Sequence[Sample]
) -> dict[str, float]:
    """The largest magnitude that each layer reads becomes 127."""
    largest: dict[str, float] = {}

    def measure(key: str, values: torch.Tensor) -> torch.Tensor:
        # `max` would pass over NaN.
        largest[key] = float(np.maximum(largest.get(key, 0.0), float(values.abs().max())))
        return values

    with reading(network, item, measure):
        for sample in samples:
            network.run(sample.feeds)
    for key, magnitude in largest.items():
        if not np.isfinite(magnitude):
            raise SourceError(
                f"{item.component.name}: the layer of {key} reads NaN or infinite values, for "
                "which there is no scale; compress weights alone."
            )
    halves = {key: np.float16(magnitude / 127) for key, magnitude in sorted(largest.items())}
    return {key: max(float(scale), _SMALLEST) for key, scale in halves.items()}


def _loss(
    network: ReplacedNetwork,
    item: Prepared,
    key: str,
    scale: float,
    samples: Sequence[Sample],
) -> float | None:
    values = item.weights[key].read().astype(np.float16)
    compressed = compress(values, parse_scheme("w8a8"), key=key)
    network.replace = given_values({key: compressed.decompress()})
    with reading(network, item, rounded({key: scale})):
        return network.compare(samples).psnr_db
