"""A loaded component, fed and read by roles: the graph's own names and dtypes stay in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.batching import built_batch, run_batched
from runtimes.bundle import Bundle
from runtimes.engine import Array, Engine, load_engine_class
from runtimes.errors import BundleError, EngineError
from runtimes.manifest import Graph, Port


class NotFiniteError(EngineError):
    """A component gave NaN or infinite values: no picture is made of them.

    Attributes:
        component: which.
    """

    def __init__(self, component: str, when: str = "") -> None:
        """Says what can be done.

        Args:
            component: which.
            when: " at step 3 of 20" or the like.
        """
        super().__init__(
            f"{component} gave NaN or infinite values{when}. Where the bundle or the device "
            "computes in fp16, take one that computes in fp32: `latedge compile --arithmetic fp32`."
        )
        self.component = component


@dataclass(frozen=True)
class Roles:
    """What the pipeline feeds a component and reads from it.

    Attributes:
        required: roles of the inputs that every such graph has.
        optional: roles of inputs that some have.
        output: role of the output that is read where nothing else is said.
        instead: roles of outputs that some have in its place; see `Component.output`.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    output: str
    instead: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """Roles of outputs; the first that a graph has is read."""
        return (self.output, *self.instead)


@dataclass(frozen=True)
class Component:
    """A loaded graph of a bundle.

    Attributes:
        name: the component's name in the bundle, such as "unet".
        engine: the graph, loaded.
        inputs: ports by role.
        output: the port of the one output that the pipeline reads.
    """

    name: str
    engine: Engine
    inputs: Mapping[str, Port]
    output: Port

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        name: str,
        roles: Roles,
        *,
        device: str,
        threads: int | None,
        graph: str | None = None,
    ) -> Component:
        """Loads a graph of a component.

        Args:
            bundle: where it lies.
            name: the component.
            roles: of the inputs that the caller feeds, and of the output that it reads.
            device: as the engine names it.
            threads: threads within an operation; None leaves it to the engine.
            graph: its name; None for that of the size that is meant.

        Raises:
            BundleError: the bundle lacks the component or graph, isn't compiled, or the graph wants
                other inputs or gives other outputs.
            EngineError: loading failed.
        """
        found = checked_graph(bundle, name, roles, graph)
        engine_class = load_engine_class(str(found.engine))
        engine = engine_class(bundle.path, found, device=device, threads=threads)
        inputs = {port.role: port for port in found.inputs}
        outputs = {port.role: port for port in found.outputs}
        output = next(outputs[role] for role in roles.read if role in outputs)
        return cls(name, engine, inputs, output)

    @property
    def batch(self) -> int | None:
        """The batch that the graph was built for, or None where it takes any."""
        return built_batch(self.engine.graph)

    def __call__(self, **feeds: Array) -> NDArray[np.float32]:
        """Runs the graph on samples along the first axis, whatever batch it was built for.

        Args:
            feeds: by role; cast to the graph's dtypes.

        Returns:
            The output as float32.

        Raises:
            NotFiniteError: the output holds NaN or infinite values.
            EngineError: the engine failed.
        """
        return self.run([self.output.role], feeds)[self.output.role]

    def run(
        self, roles: Sequence[str], feeds: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float32]]:
        """Runs the graph for several of its outputs; else as a call.

        Args:
            roles: of the outputs wanted.
            feeds: by role.

        Raises:
            BundleError: the graph has no such output.
            NotFiniteError, EngineError: as a call.
        """
        outputs = {port.role: port.name for port in self.engine.graph.outputs}
        for role in roles:
            if role not in outputs:
                raise BundleError(
                    f"{self.name} gives {', '.join(sorted(outputs))}, and no {role}. Export again."
                )
        named = {
            self.inputs[role].name: as_fed(array, self.inputs[role])
            for role, array in feeds.items()
        }
        found = run_batched(self.engine, named, [outputs[role] for role in roles])
        results = {role: found[outputs[role]].astype(np.float32, copy=False) for role in roles}
        if not all(np.isfinite(result).all() for result in results.values()):
            raise NotFiniteError(self.name)
        return results


def checked_graph(bundle: Bundle, name: str, roles: Roles, graph: str | None = None) -> Graph:
    """A graph of a component, which some engine can run; loads nothing.

    Args:
        bundle: where it lies.
        name: the component.
        roles: of the inputs that are fed, and of the output that is read.
        graph: its name; None for that of the size that is meant.

    Raises:
        BundleError: the bundle lacks the component, isn't compiled, or the graph wants other
            inputs or gives other outputs.
    """
    found = fitting_graph(bundle, name, roles, graph)
    if found.engine is None:
        raise BundleError(
            f"{bundle.path} is portable and can't run yet. Compile it first: "
            f"latedge compile {bundle.path} --target onnxruntime -o {bundle.path}.ort"
        )
    return found


def fitting_graph(bundle: Bundle, name: str, roles: Roles, graph: str | None = None) -> Graph:
    """A graph of a component, compiled or not; arguments as of `checked_graph`.

    Raises:
        BundleError: the bundle lacks the component, or the graph wants other inputs or gives other
            outputs.
    """
    found = bundle.graph(name, graph)
    inputs = {port.role: port for port in found.inputs}
    outputs = {port.role: port for port in found.outputs}
    _check_roles(f"{name} in {bundle.path}", inputs, outputs, roles)
    return found


def as_fed(array: Array, port: Port) -> Array:
    """An array in the dtype of a port; the one value of [1], such as a timestep, for a scalar."""
    shaped = array if port.shape else array.reshape(())
    return np.asarray(shaped, dtype=port.dtype, order="C")


def _check_roles(
    where: str,
    inputs: Mapping[str, Port],
    outputs: Mapping[str, Port],
    roles: Roles,
) -> None:
    if not set(roles.required) <= set(inputs) <= {*roles.required, *roles.optional}:
        raise BundleError(
            f"{where} takes {', '.join(sorted(inputs))}, where this version of latedge feeds "
            f"{', '.join(sorted((*roles.required, *roles.optional)))}."
        )
    read = [outputs[role] for role in roles.read if role in outputs]
    if not read:
        given = ", ".join(sorted(outputs)) or "nothing"
        raise BundleError(f"{where} gives {given}, and no {roles.output}.")
    for port in (*inputs.values(), *read):
        if port.dtype == "bfloat16":
            raise BundleError(f"{where}: {port.name} is bfloat16, which NumPy doesn't have.")
