"""Matches the weights of a source to the parameters of a network, and refuses what doesn't fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from exporter.components.base import Component, Config, class_name
from exporter.errors import SourceError, WeightError
from exporter.weights import PRECISIONS, Tensor

_SHOWN = 5


def parameters(component: Component, config: Config) -> dict[str, tuple[int, ...]]:
    """Diffusers key → shape of all parameters of a component's network; takes no memory.

    Raises:
        SourceError: the network's class refuses its config.
    """
    try:
        with torch.device("meta"):
            network = component.build(config)
    except (ValueError, TypeError, IndexError, NotImplementedError) as e:
        line = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise SourceError(
            f"{component.source}/config.json describes no network that {class_name(config)} can "
            f"be: {line}"
        ) from e
    return {
        component.canonical(name): tuple(parameter.shape)
        for name, parameter in network.state_dict().items()
        if component.canonical(name) not in component.buffers(config)
    }


def match(component: Component, config: Config, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives every parameter of a network its tensor in the source.

    Args:
        component: whose network it is.
        config: the network's config.
        tensors: the source's tensors by their own keys.

    Returns:
        Diffusers key → tensor, one for each parameter.

    Raises:
        WeightError: a weight is missing, unexpected, misshapen, doubled or no float; names it.
    """
    expected = parameters(component, config)
    buffers = component.buffers(config)
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = component.canonical(key)
        if name in buffers:
            continue
        if name in found:
            raise WeightError(f"{component.source}: {name} is there twice, once as {key!r}.")
        found[name] = tensor
    _same_names(component.source, expected, found)
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise WeightError(
                f"{component.source}: {name} has shape {list(found[name].shape)}, the config "
                f"asks for {list(shape)}."
            )
        if found[name].dtype not in PRECISIONS:
            raise WeightError(
                f"{component.source}: {name} has dtype {found[name].dtype}; read are "
                f"{', '.join(PRECISIONS)}."
            )
    return found


def _same_names(folder: str, expected: Mapping[str, object], found: Mapping[str, object]) -> None:
    for kind, names in (
        ("missing", expected.keys() - found.keys()),
        ("unexpected", found.keys() - expected.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise WeightError(
                f"{folder}: {len(names)} {kind} weight{'s' * (len(names) > 1)}: {shown}{more}. "
                "The weights don't belong to this config."
            )
