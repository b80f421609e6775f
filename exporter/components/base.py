"""What a component is to the exporter: a network, a flat tensor signature, example inputs, axes."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from exporter.errors import SourceError
from runtimes.manifest import DType, Port

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]
"""A network's own config.json, as diffusers or transformers wrote it."""

Array = NDArray[np.generic]


def port(name: str, dtype: DType, *shape: int | str) -> Port:
    """A port whose role is its name; a string in the shape is a symbolic axis."""
    return Port(role=name, name=name, dtype=dtype, shape=shape)


class Component(ABC):
    """One network of a model, as it is traced, verified and described in the manifest.

    Attributes:
        name: the component's folder in a bundle.
        source: its folder in a Diffusers model.
        classes: the network classes that it takes.
        wrapper: its name in `exporter.components.COMPONENTS`; the component's own where there is
            one wrapper for it.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    wrapper: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Names the wrapper of a component after it."""
        if "name" in vars(cls) and "wrapper" not in vars(cls):
            cls.wrapper = cls.name

    def check(self, config: Config) -> None:
        """Refuses a config that the wrapper doesn't cover.

        Raises:
            SourceError: names the field, what it is and what is supported.
        """
        found = class_name(config)
        if found not in self.classes:
            known = ", ".join(self.classes)
            raise SourceError(f"{self.source} is of class {found!r}; supported: {known}.")

    @abstractmethod
    def normalise(self, config: Config) -> dict[str, Any]:
        """The config in one form for all who mean the same network.

        It has the class's own fields alone, those that are absent with the class's defaults.
        What the field's writer noted beside them (versions, paths, dtypes) is left out.
        """

    def complete(self, config: Config, others: Mapping[str, Config]) -> dict[str, Any]:
        """A normalised config with what it leaves open and those of the model's other networks say.

        Args:
            config: as `normalise` gave it.
            others: the model's configs by folder.

        Raises:
            SourceError: another network is missing, or belongs to another model.
        """
        del others
        return dict(config)

    @abstractmethod
    def build(self, config: Config) -> torch.nn.Module:
        """The network with its own parameter names, made from its config alone.

        Under a fake tensor mode or on the meta device it takes no memory.
        """

    @abstractmethod
    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """A module over `network` (its attribute of that name) with flat tensors in and out."""

    @abstractmethod
    def inputs(self, config: Config) -> tuple[Port, ...]:
        """The graph's inputs in order, with symbolic axes."""

    @abstractmethod
    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The graph's outputs in order, with symbolic axes."""

    @abstractmethod
    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """A size per symbolic axis of the inputs, at which the network is captured.

        No size may be 0 or 1, nor a multiple of the network's downsampling: the capture would
        hold for such sizes alone.
        """

    def multiples(self, config: Config) -> Mapping[str, int]:
        """Symbolic axes whose sizes must be multiples of a number → that number.

        The capture then holds for those alone, and its shapes are as simple as they are.
        """
        del config
        return {}

    def canonical(self, key: str) -> str:
        """The Diffusers key for a key of the network, or for an older or newer one of a file."""
        return key

    def buffers(self, config: Config) -> Mapping[str, Array]:
        """Values of the buffers, which no file holds and a capture under fake tensors lacks."""
        del config
        return {}

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The network's own outputs by port name: what an exported graph is compared with."""
        results = self.wrap(network, config)(*(feeds[port.name] for port in self.inputs(config)))
        tensors = results if isinstance(results, tuple) else (results,)
        return dict(zip((port.name for port in self.outputs(config)), tensors, strict=True))


def fields(defaults: Mapping[str, object], config: Config) -> dict[str, Any]:
    """A config's values for the fields of a class.

    Args:
        defaults: field → the class's default.
        config: what was written; other fields are left out.

    Returns:
        Field → value as JSON has it, with numbers of the default's kind: 1 and 1.0 are one value.
    """
    return {name: _plain(config.get(name, value), value) for name, value in defaults.items()}


def parameters_of(network_class: type) -> dict[str, object]:
    """Field → default of a diffusers class, whose config is what its constructor takes."""
    listed = inspect.signature(network_class).parameters.values()
    return {parameter.name: parameter.default for parameter in listed}


def uniform(value: object) -> object:
    """One value in place of a list of equal ones, which diffusers reads as the same.

    A list of lists stays as it is: those are of layers within a level.
    """
    if not isinstance(value, list) or not value or isinstance(value[0], list):
        return cast("object", value)
    return value[0] if all(item == value[0] for item in value) else cast("object", value)


def _plain(value: object, default: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item, None) for item in cast("Sequence[object]", value)]
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(default) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def class_name(config: Config) -> str:
    """The class that a config is of: diffusers' `_class_name` or transformers' architecture."""
    if "_class_name" in config:
        return str(config["_class_name"])
    architectures = config.get("architectures") or ["an unnamed class"]
    return str(architectures[0])
