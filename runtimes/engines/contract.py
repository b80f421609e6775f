"""What every engine checks alike: files before loading, names after it, feeds at each call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from runtimes.engine import Array
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Graph, Port


def check_files(folder: Path, graph: Graph) -> Path:
    """The path of a graph whose files are all there: its own, its further chunks', its weights'.

    Raises:
        EngineError: names the first file that is missing.
    """
    for name in (graph.file, *graph.chunks, *graph.weights):
        if not (folder / name).is_file():
            raise EngineError(f"{folder / name} is missing. Make the bundle again.")
    return folder / graph.file


def check_threads(threads: int | None) -> None:
    """Refuses a count of threads below 1, which the SDKs take as "choose yourself".

    Raises:
        UsageError: the count is below 1.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be a whole number from 1, not {threads}.")


def check_names(graph: Graph, kind: str, ports: Sequence[Port], found: Iterable[str]) -> None:
    """Compares the names of the manifest with those that the loaded graph has.

    Args:
        graph: as the manifest describes it.
        kind: "inputs" or "outputs".
        ports: that the manifest lists.
        found: names in the graph.

    Raises:
        EngineError: they differ.
    """
    wanted, names = sorted(port.name for port in ports), sorted(found)
    if wanted != names:
        raise EngineError(
            f"{graph.file} has {kind} {', '.join(names) or 'none'}, where the manifest says "
            f"{', '.join(wanted) or 'none'}. Make the bundle again."
        )


def check_feeds(graph: Graph, feeds: Mapping[str, Array]) -> None:
    """Compares the feeds of one call with the graph's inputs.

    Raises:
        EngineError: an input is missing or unknown, its dtype or shape isn't the graph's, or a
            symbolic axis has two sizes.
    """
    names = [port.name for port in graph.inputs]
    if set(feeds) != set(names):
        raise EngineError(
            f"{graph.file} takes inputs {', '.join(names)}, given were "
            f"{', '.join(sorted(feeds)) or 'none'}."
        )
    axes: dict[str, tuple[int, str]] = {}
    for port in graph.inputs:
        _check_dtype(graph, port, feeds[port.name])
        _check_shape(graph, port, feeds[port.name].shape, axes)


def _check_dtype(graph: Graph, port: Port, array: Array) -> None:
    if array.dtype.name != port.dtype or not array.dtype.isnative:
        swapped = "" if array.dtype.isnative else " of the other byte order"
        raise EngineError(
            f"{graph.file}: input {port.name} is {port.dtype}, given was "
            f"{array.dtype.name}{swapped}."
        )


def _check_shape(
    graph: Graph, port: Port, shape: tuple[int, ...], axes: dict[str, tuple[int, str]]
) -> None:
    if len(shape) != len(port.shape) or not all(map(_fits, port.shape, shape)):
        raise EngineError(
            f"{graph.file}: input {port.name} has shape {_show(port.shape)}, given was "
            f"{_show(shape)}."
        )
    for axis, size in zip(port.shape, shape, strict=True):
        if isinstance(axis, str):
            known, where = axes.setdefault(axis, (size, port.name))
            if known != size:
                raise EngineError(
                    f"{graph.file}: axis {axis!r} is {known} in input {where}, but {size} in "
                    f"{port.name}."
                )


def _fits(axis: int | str, size: int) -> bool:
    return size == axis if isinstance(axis, int) else size >= 1


def _show(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def check_outputs(graph: Graph, outputs: Sequence[str] | None) -> list[str]:
    """The names of the outputs wanted, all of them for None.

    Raises:
        EngineError: the graph lacks one.
    """
    names = [port.name for port in graph.outputs]
    for name in outputs or ():
        if name not in names:
            raise EngineError(f"{graph.file} has no output {name!r} (it has: {', '.join(names)}).")
    return names if outputs is None else list(outputs)
