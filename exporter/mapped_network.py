"""A network that reads each weight when an operator uses it: in memory is one weight at a time.

Its parameters are placeholders of the right shape over a single NaN each. A dispatch mode puts a
weight's values in the place of its placeholder right before an operator of torch runs; a weight
that were missed would make every output NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from exporter.components.base import Component, Config
from exporter.weights import Tensor


class MappedNetwork:
    """A component's network in float32 whose weights stay in their files.

    Attributes:
        network: to be run within `reading`.
    """

    def __init__(self, component: Component, config: Config, weights: Mapping[str, Tensor]) -> None:
        """Builds the network; reads no weights.

        Args:
            component: whose network.
            config: the network's config.
            weights: Diffusers key → tensor, for every parameter that the component uses.
        """
        with torch.device("meta"):
            network = component.build(config)
        tensors: dict[int, Tensor] = {}
        state: dict[str, torch.Tensor] = {}
        for name in network.state_dict():
            tensor = weights.get(component.canonical(name))
            if tensor is not None:
                state[name] = placeholder = torch.full((), torch.nan).expand(tensor.shape)
                tensors[placeholder.untyped_storage().data_ptr()] = tensor
        network.load_state_dict(state, strict=False, assign=True)
        set_buffers(network, component, config)
        self.network = network.eval().requires_grad_(False)
        self._tensors = tensors

    def reading(self) -> TorchDispatchMode:
        """Within it the network runs."""
        return _Reading(self._tensors)


class _Reading(TorchDispatchMode):
    def __init__(self, tensors: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._tensors = tensors

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operator on values in the place of placeholders."""
        del types
        return func(*tree_map(self._value, args), **tree_map(self._value, dict(kwargs or {})))

    def _value(self, given: Any) -> Any:
        if not isinstance(given, torch.Tensor) or given.device.type == "meta":
            return given
        tensor = self._tensors.get(given.untyped_storage().data_ptr())
        return given if tensor is None else read_float32(tensor)


def read_float32(tensor: Tensor) -> torch.Tensor:
    """A weight's values in float32, in memory of their own."""
    values = tensor.read()
    if values.dtype == np.float16:
        return torch.from_numpy(values.copy()).float()  # faster than numpy's own widening
    own = np.ascontiguousarray(values, dtype=np.float32)
    # frombuffer's arrays are read-only; torch wants to own what it may write to.
    return torch.from_numpy(own if own.flags.writeable else own.copy())


def set_buffers(network: torch.nn.Module, component: Component, config: Config) -> None:
    """Gives a network that was built without memory the buffers that no file holds."""
    buffers = component.buffers(config)
    for name, _ in list(network.named_buffers()):
        key = component.canonical(name)
        if key in buffers:
            owner, _, leaf = name.rpartition(".")
            values = torch.from_numpy(np.array(buffers[key]))
            network.get_submodule(owner).register_buffer(leaf, values, persistent=False)
