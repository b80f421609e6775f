"""A network without its weights: what a class makes of a config on torch's meta device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.synthetic.models import Network
from runtimes.errors import LatedgeError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """A network on the meta device.

    Attributes:
        network: its row of the table.
        module: the torch module; its parameters have no values.
        shapes: name of each weight, as it is written, → its shape.
    """

    network: Network
    module: Any
    shapes: Mapping[str, Shape]

    @property
    def size(self) -> int:
        """Number of values in all weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def build(network: Network) -> Built:
    """Makes a network on the meta device.

    Raises:
        LatedgeError: torch or the network's library is not installed.
    """
    try:
        import torch

        library = import_module(network.library)
        network_class = getattr(library, network.class_name)
    except ImportError as e:
        raise LatedgeError(
            f"{e.name} is not installed; it gives the networks' shapes. "
            'Run: pip install "latedge[bench]"'
        ) from e
    with torch.device("meta"):
        if network.library == "transformers":
            module = network_class(network_class.config_class(**network.config))
        else:
            module = network_class(**network.config)
    shapes = {_written(network, key): tuple(t.shape) for key, t in module.state_dict().items()}
    return Built(network, module, shapes)


def _written(network: Network, key: str) -> str:
    # transformers from 5.6 on names these keys without the prefix; older readers, and the models
    # that are published, have it.
    if network.class_name == "CLIPTextModel" and not key.startswith("text_model."):
        return f"text_model.{key}"
    return key
