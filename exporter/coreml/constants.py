"""The constants of a package: weights as they lie in a file, or compressed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporter.coreml.compress.compression import Compression
from exporter.coreml.lower.rules import Var, Weight, builder
from exporter.coreml.mapped_weights import Array
from exporter.errors import CompileError
from exporter.weight_map import Mapped


class MappedConstants:
    """Constants whose values are those of arrays that lie in a file.

    Each weight becomes one constant, also where several operators use it. What is compressed is in
    memory, everything else stays in the file.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        compression: Compression | None = None,
        target: str = "",
    ) -> None:
        """Takes weights.

        Args:
            arrays: by Diffusers key, in the program's dtype.
            compression: of what convolutions and linear layers multiply by; None leaves all as is.
            target: the deployment target that compression is for.
        """
        self._arrays = arrays
        self._compression = compression
        self._target = target
        self._made: dict[Weight, Var] = {}
        self._compressed: set[str] = set()

    def constant(self, weight: Weight, *, matrix: bool) -> Var:
        """See `exporter.coreml.lower.rules.Constants`.

        Raises:
            CompileError: there is no such weight.
        """
        if weight.key not in self._arrays:
            raise CompileError(f"the bundle has no weight {weight.key}. Export it again.")
        if weight not in self._made:
            self._made[weight] = self._new(weight, matrix=matrix)
        return self._made[weight]

    def weight_map(self) -> dict[str, Mapped]:
        """Where each weight is, by the names that a saved program has."""
        return {
            weight.key: Mapped(
                tensor=var.name,
                dtype=str(self._arrays[weight.key].dtype),
                layout="canonical",
                shape=weight.shape,
                adaptable=weight.key not in self._compressed,
            )
            for weight, var in self._made.items()
        }

    def _new(self, weight: Weight, *, matrix: bool) -> Var:
        values = self._arrays[weight.key].reshape(weight.shape)
        assert values.dtype == np.dtype(str(weight.dtype).removeprefix("torch."))
        if matrix and self._compression is not None:
            made = self._compression.emit(weight.key, values, weight.shape, self._target)
            if made is not None:
                self._compressed.add(weight.key)
                return made
        return builder().const(val=values, name=weight.key)
