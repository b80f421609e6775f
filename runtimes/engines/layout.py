"""Brings feeds from the shapes of their roles to those that a graph wants, as its ports say.

Core ML's graphs lay some arrays out otherwise than the pipeline knows them: text embeddings
[2, 77, 768] come in as [2, 768, 1, 77], the Neural Engine's layout of channels before a sequence,
and the one timestep [1] as [2], once for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from runtimes.engine import Array
from runtimes.errors import EngineError
from runtimes.manifest import Graph, Port

NEW_AXIS = -1


def laid_out(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds of a graph as it wants them, C-contiguous; those it takes as they are, untouched.

    Args:
        graph: whose layout `check_layout` has taken.
        feeds: by input name, of the shapes and dtypes of the graph's ports.
    """
    return {port.name: _laid_out(feeds[port.name], port) for port in graph.inputs}


def graph_shape(port: Port) -> tuple[int | str, ...]:
    """The shape of a port's array as the graph has it."""
    shape = port.shape
    if port.repeat != 1:
        first = shape[0] * port.repeat if isinstance(shape[0], int) else shape[0]
        shape = (first, *shape[1:])
    if port.axes is None:
        return shape
    return tuple(1 if axis == NEW_AXIS else shape[axis] for axis in port.axes)


def check_layout(graph: Graph) -> None:
    """Refuses a layout that can't be, before anything is loaded.

    Raises:
        EngineError: names the port: its axes are no permutation of its shape's, it repeats an axis
            that isn't there, or it is an output, which has the shape of its role.
    """
    for port in graph.inputs:
        kept = sorted(axis for axis in port.axes or () if axis != NEW_AXIS)
        if port.axes is not None and kept != list(range(len(port.shape))):
            raise EngineError(
                f"{graph.file}: input {port.name} of {len(port.shape)} axes can't be laid out as "
                f"{list(port.axes)}. Make the bundle again."
            )
        if port.repeat < 1 or (port.repeat != 1 and not port.shape):
            raise EngineError(
                f"{graph.file}: input {port.name} of shape {list(port.shape)} can't be repeated "
                f"{port.repeat} times. Make the bundle again."
            )
    for port in graph.outputs:
        if port.axes is not None or port.repeat != 1:
            raise EngineError(
                f"{graph.file}: output {port.name} is laid out otherwise than its role, which this "
                "version of latedge doesn't know. Upgrade."
            )


def _laid_out(array: Array, port: Port) -> Array:
    if port.axes is None and port.repeat == 1:
        return array
    repeated = np.repeat(array, port.repeat, axis=0) if port.repeat != 1 else array
    if port.axes is None:
        return repeated
    moved = repeated.transpose([axis for axis in port.axes if axis != NEW_AXIS])
    added = [place for place, axis in enumerate(port.axes) if axis == NEW_AXIS]
    return np.ascontiguousarray(np.expand_dims(moved, tuple(added)))
