"""Shapes of a network's weights, asked for by key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from exporter.errors import WeightError
from exporter.weights import Tensor


class Shapes:
    """Shapes by key; a key that is missing is an error that names it."""

    def __init__(self, network: str, tensors: Mapping[str, Tensor]) -> None:
        self.network = network
        self.shapes = {key: tensor.shape for key, tensor in tensors.items()}

    def size(self, key: str, axis: int) -> int:
        """A weight's size along an axis.

        Raises:
            WeightError: it is missing, or has fewer axes.
        """
        shape = self.shapes.get(key)
        if shape is None or len(shape) <= axis:
            what = "is missing" if shape is None else f"has shape {list(shape)}"
            raise WeightError(f"{self.network}: {key} {what}; the architecture is read off it.")
        return shape[axis]

    def has(self, prefix: str) -> bool:
        """Whether a key begins so."""
        return any(key.startswith(prefix) for key in self.shapes)

    def count(self, prefix: str) -> int:
        """How many numbers follow a prefix."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        return len({match[1] for match in map(pattern.match, self.shapes) if match})
