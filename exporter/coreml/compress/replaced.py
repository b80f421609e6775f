"""A component's network in torch, run with some of its weights replaced by compressed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exporter.coreml.compress.compression import Compression
from exporter.coreml.compress.tensor import compress
from exporter.mapped_network import MappedNetwork
from exporter.needs import float32_bytes
from exporter.prepare import Prepared
from exporter.reference import GUIDANCE_SCALE, Feeds, Sample
from exporter.report import Comparison, compare
from exporter.weights import Tensor

Array = NDArray[Any]
KEPT_BYTES = 4 * 10**9
"""Of a network's weights in float32 that are kept between runs. Larger ones are read at each: a run
of the shapes model's U-Net takes 3 times as long so."""

Replace = Callable[[str, Array], Array]
"""From a weight's key and values, float16 or float32, to what stands in their place."""


class ReplacedNetwork:
    """A network in float32 whose weights are read when they are used, and replaced on the way.

    Attributes:
        replace: called for each weight that is read; to be set between runs.
        kept: weights in float32 that were read before; None where they are too large to be kept.
        module: the network, for hooks on its layers.
    """

    def __init__(self, item: Prepared, replace: Replace | None = None) -> None:
        """Builds the network; reads no weights.

        Args:
            item: the component with its weights.
            replace: gives what stands in a weight's place; None for the weight itself.
        """
        self.replace: Replace = replace or _as_it_is
        self.kept: dict[str, Array] | None = {} if float32_bytes(item) <= KEPT_BYTES else None
        weights = {
            key: _Replaced(**vars(tensor), key=key, owner=self)
            for key, tensor in item.weights.items()
        }
        self._item = item
        self._mapped = MappedNetwork(item.component, item.config, weights)
        self.module = self._mapped.network

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Outputs by port name, float32."""
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
        with torch.inference_mode(), self._mapped.reading():
            item = self._item
            results = item.component.reference(self.module, item.config, tensors)
        return {name: value.float().numpy() for name, value in results.items()}

    def compare(self, samples: Sequence[Sample]) -> Comparison:
        """What a sampler sees of all samples, against what was recorded with weights as they are.

        See `as_sampled`.
        """
        pairs: list[tuple[Array, Array]] = []
        for sample in samples:
            before = as_sampled(sample.feeds, sample.outputs)
            after = as_sampled(sample.feeds, self.run(sample.feeds))
            pairs += [(value, after[name]) for name, value in before.items()]
        return compare(pairs)


def as_sampled(feeds: Feeds, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Both guidance halves of a U-Net as the one prediction that they become; others as they are.

    Guidance multiplies the difference of the halves, and compressed weights of the cross attention
    change little of either half and much of that. For the shapes model's pictures, bits of 4.5 on
    average gave 34.0 dB where they were chosen by the prediction, 32.6 dB by the halves.

    Args:
        feeds: of a call as `exporter.reference` makes it: the unconditional half first.
        outputs: what it gave.
    """
    if "encoder_hidden_states" not in feeds:
        return outputs
    halves = {name: np.split(value, 2) for name, value in outputs.items()}
    return {
        name: uncond + np.float32(GUIDANCE_SCALE) * (cond - uncond)
        for name, (uncond, cond) in halves.items()
    }


@dataclass(frozen=True)
class _Replaced(Tensor):
    """A weight in its file that is replaced once it is read."""

    key: str = ""
    owner: ReplacedNetwork | None = None

    def read(self) -> Array:
        assert self.owner is not None
        if self.owner.kept is None:
            return self.owner.replace(self.key, super().read())
        if self.key not in self.owner.kept:
            # Torch takes it as it is, without a copy.
            self.owner.kept[self.key] = super().read().astype(np.float32)
        return self.owner.replace(self.key, self.owner.kept[self.key])


def _as_it_is(key: str, values: Array) -> Array:
    del key
    return values


def given_values(values: Mapping[str, Array]) -> Replace:
    """Puts given values in the place of some weights; the others stay as they are."""

    def replace(key: str, read: Array) -> Array:
        return values.get(key, read)

    return replace


def compressed_values(compression: Compression) -> Replace:
    """Gives every weight as an engine reads it from a package in half precision.

    Those that a compression leaves out are as they are. What was compressed is kept, so that
    several runs compress once.
    """
    kept: dict[str, Array] = {}

    def replace(key: str, values: Array) -> Array:
        scheme = compression.scheme_of(key, values.shape)
        if scheme is None:
            return values
        if key not in kept:
            kept[key] = compress(values.astype(np.float16), scheme, key=key).decompress()
        return kept[key]

    return replace
