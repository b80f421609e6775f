"""The constants of a package: weights as they lie in a file, or compressed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from exporter.coreml.compress.compression import Compression
from exporter.coreml.compress.emit import emit
from exporter.coreml.compress.tensor import Compressed, compress
from exporter.coreml.lower.rules import Var, Weight, builder
from exporter.coreml.mapped_weights import Array
from exporter.coreml.targets import Deployment, check_target
from exporter.errors import CompileError
from exporter.weight_map import Mapped

SEVERAL_SINCE = check_target("iOS18")
"""From then on a package can have several functions."""


class PackageWeights:
    """The weights of a package, which all its functions share.

    What is compressed is in memory, everything else stays in its file.

    Attributes:
        scales: of what layers read in 8 bits, by the key of their weight; others read it as it is.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        compression: Compression | None = None,
        scales: Mapping[str, float] | None = None,
        deployment: Deployment | None = None,
    ) -> None:
        """Takes weights.

        Args:
            arrays: by Diffusers key, in the program's dtype.
            compression: of what convolutions and linear layers multiply by; None leaves all as is.
            scales: of what layers read in 8 bits, by the key of their weight.
            deployment: the target that compression is for.
        """
        self._arrays = arrays
        self._compression = compression
        self.scales: Mapping[str, float] = scales or {}
        self._compressed: dict[Weight, Compressed | None] = {}
        self._placed: dict[Weight, Var] = {}
        self._deployment = deployment

    def constants(self) -> MappedConstants:
        """Those of one function."""
        return MappedConstants(self)

    def weight_map(self) -> dict[str, Mapped]:
        """Where each weight is, by the names that a saved program has."""
        return {
            weight.key: Mapped(
                tensor=var.name,
                dtype=str(self._arrays[weight.key].dtype),
                layout="canonical",
                shape=weight.shape,
                adaptable=weight not in self._compressed,
            )
            for weight, var in self._placed.items()
        }

    def place(self, weight: Weight, *, matrix: bool) -> Var:
        """Adds a weight to the function that is being built.

        Raises:
            CompileError: there is no such weight, or it can't be compressed.
        """
        if weight.key not in self._arrays:
            raise CompileError(f"the bundle has no weight {weight.key}. Export it again.")
        values = self._arrays[weight.key].reshape(weight.shape)
        assert values.dtype == np.dtype(str(weight.dtype).removeprefix("torch."))
        compressed = self._compress(weight, values) if matrix else None
        if compressed is not None:
            assert self._deployment is not None, "compressed for no target"
            var = emit(re.sub(r"\W", "_", weight.key), compressed, self._deployment)
        else:
            var = builder().const(val=values, name=weight.key)
        self._placed.setdefault(weight, var)
        return var

    def _compress(self, weight: Weight, values: Array) -> Compressed | None:
        """A weight compressed, once for all functions; None for one that stays as it is."""
        if self._compression is None:
            return None
        scheme = self._compression.scheme_of(weight.key, weight.shape)
        if scheme is None:
            return None
        compressed = self._compressed.get(weight)
        if compressed is None:
            compressed = compress(values, scheme, key=weight.key)
            self._compressed[weight] = compressed if self._shared else None
        return compressed

    @property
    def _shared(self) -> bool:
        """Whether several functions may use a weight.

        Where they can't, nothing is kept for another: a palette's indices, a byte each, would stay
        in memory beside the packed ones that the program has, 0.86 GB of SD 1.5's U-Net.
        """
        return self._deployment is not None and self._deployment >= SEVERAL_SINCE


class MappedConstants:
    """The constants of one function: each weight is one, also where several operators use it."""

    def __init__(self, weights: PackageWeights) -> None:
        """Takes the weights of the package."""
        self._weights = weights
        self._made: dict[Weight, Var] = {}

    def constant(self, weight: Weight, *, matrix: bool) -> Var:
        """See `exporter.coreml.lower.rules.Constants`.

        Raises:
            CompileError: see `PackageWeights.place`.
        """
        if weight not in self._made:
            self._made[weight] = self._weights.place(weight, matrix=matrix)
        return self._made[weight]

    def read_scale(self, weight: Weight) -> float | None:
        """See `exporter.coreml.lower.rules.Constants`."""
        return self._weights.scales.get(weight.key)
