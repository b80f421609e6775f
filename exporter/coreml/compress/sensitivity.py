"""How much a network's outputs lose where one of its weights alone is compressed.

Apple's mixed palettes are chosen from such figures; see "mixed-bit palettization" in the README of
apple/ml-stable-diffusion. A run of the network is taken for each weight, width and sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from exporter.coreml.compress.compression import is_compressible
from exporter.coreml.compress.replaced import ReplacedNetwork, given_values
from exporter.coreml.compress.scheme import MIXED_BITS, palette
from exporter.coreml.compress.tensor import compress
from exporter.errors import SourceError
from exporter.prepare import Prepared
from exporter.progress import Progress, silent
from exporter.reference import Sample


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What it costs and gives to compress a weight to so many bits.

    Attributes:
        size_bits: of indices and table together.
        psnr_db: of the network's outputs as a sampler sees them (`as_sampled`) with this weight
            alone compressed, against their largest magnitude; None where they stay equal.
    """

    size_bits: int
    psnr_db: float | None

    @property
    def noise(self) -> float:
        """Mean squared error of the outputs, in squares of their largest magnitude."""
        return 0.0 if self.psnr_db is None else 10 ** (-self.psnr_db / 10)


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """A weight's losses.

    Attributes:
        elements: how many it has.
        losses: bits of an index → loss.
    """

    elements: int
    losses: dict[int, Loss]


def measure_sensitivity(
    item: Prepared,
    samples: Sequence[Sample],
    *,
    bits: Sequence[int] = MIXED_BITS,
    progress: Progress = silent,
) -> dict[str, Sensitivity]:
    """Compresses each compressible weight alone, to each width, and runs the network.

    Args:
        item: the component with its weights.
        samples: what it was fed with and what it gave, as `exporter.reference.run_reference` finds
            them: real prompts, latents along a trajectory.
        bits: widths to try.
        progress: called with a line for every weight.

    Returns:
        Diffusers key → sensitivity, in the order of the keys.

    Raises:
        SourceError: the network's outputs are NaN or infinite for a weight's compressed values.
        CompileError: a weight is NaN or infinite.
    """
    shapes = {key: tensor.shape for key, tensor in item.weights.items()}
    keys = sorted(key for key, shape in shapes.items() if is_compressible(key, shape))
    network = ReplacedNetwork(item)
    found: dict[str, Sensitivity] = {}
    for number, key in enumerate(keys, 1):
        losses = {width: _loss(network, item, key, width, samples) for width in bits}
        elements = int(np.prod(shapes[key]))
        found[key] = Sensitivity(elements=elements, losses=losses)
        shown = ", ".join(f"{width}: {_shown(loss)}" for width, loss in losses.items())
        progress(f"{item.component.name}, weight {number} of {len(keys)}, {key}, bits: dB {shown}")
    return found


def _loss(
    network: ReplacedNetwork, item: Prepared, key: str, bits: int, samples: Sequence[Sample]
) -> Loss:
    values = item.weights[key].read().astype(np.float16)
    compressed = compress(values, palette(bits), key=key)
    network.replace = given_values({key: compressed.decompress()})
    figures = network.compare(samples)
    if figures.non_finite or figures.reference_non_finite:
        raise SourceError(
            f"{item.component.name}: with {key} in {bits} bits its outputs are NaN or infinite; "
            "choose one scheme for all weights instead of a mixed one."
        )
    return Loss(size_bits=compressed.size_bits, psnr_db=figures.psnr_db)


def _shown(loss: Loss) -> str:
    return "equal" if loss.psnr_db is None else f"{loss.psnr_db:.1f}"
