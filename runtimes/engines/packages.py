"""What the engines over Core ML packages have in common: what is checked, and how a call runs.

A graph is a function of one package, or of several that run one behind the other. The packages are
read by the runtime itself, for the real engine as for the reference executor, so that both check
them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from runtimes.engine import Array
from runtimes.engines.contract import check_feeds, check_files, check_names, check_outputs
from runtimes.engines.layout import check_layout, graph_shape, laid_out
from runtimes.errors import BundleError, EngineError
from runtimes.manifest import Graph, Port
from runtimes.mil.chain import Chain, Link
from runtimes.mil.package import Package, open_package, package_folder
from runtimes.mil.program import Feature


def open_chain(folder: Path, graph: Graph, link: Callable[[Package], Link]) -> Chain:
    """The packages of a graph, compared with what the manifest says, and loaded.

    Args:
        folder: the bundle.
        graph: its `file` and `chunks` are the packages' model files.
        link: loads the graph's function of a package.

    Raises:
        EngineError: a file is missing or broken, the packages aren't what the manifest says, or
            `link` fails.
    """
    check_files(folder, graph)
    check_layout(graph)
    chain = Chain(tuple(link(package) for package in _open(folder, graph)))
    check_names(graph, "inputs", graph.inputs, [one.name for one in chain.inputs])
    check_names(graph, "outputs", graph.outputs, [one.name for one in chain.outputs])
    _check_ports(graph, graph.inputs, chain.inputs)
    _check_ports(graph, graph.outputs, chain.outputs)
    return chain


def function_name(package: Package, graph: Graph) -> str:
    """The function of a package that a graph is: the package's default where it names none.

    Raises:
        EngineError: the package has no such function.
    """
    name = package.model.default_function if graph.function is None else graph.function
    if name not in package.model.functions:
        raise EngineError(
            f"{graph.file} can't be loaded: {package.path} has no function {name!r} (it has: "
            f"{', '.join(sorted(package.model.functions))})."
        )
    return name


def run_chain(
    graph: Graph, chain: Chain | None, feeds: Mapping[str, Array], outputs: Sequence[str] | None
) -> dict[str, Array]:
    """One call of a graph; see `runtimes.engine.Engine`.

    Args:
        graph: as the manifest describes it.
        chain: its packages; None once they are closed.
        feeds: by input name, of the shapes of their roles.
        outputs: names of the outputs wanted; None for all.

    Raises:
        EngineError: a feed or an output isn't the graph's, the engine is closed, or the run failed.
    """
    wanted = check_outputs(graph, outputs)
    check_feeds(graph, feeds)
    if chain is None:
        raise EngineError(f"{graph.file} is closed. Open the bundle again.")
    found = chain(laid_out(graph, feeds), wanted)
    dtypes = {port.name: port.dtype for port in graph.outputs}
    with np.errstate(over="ignore"):
        return {name: np.array(found[name], dtypes[name], order="C") for name in wanted}


def _open(folder: Path, graph: Graph) -> list[Package]:
    names = (graph.file, *graph.chunks)
    try:
        return [open_package(package_folder(folder / name)) for name in names]
    except BundleError as e:
        raise EngineError(f"{graph.file} can't be loaded: {e}") from e


def _check_ports(graph: Graph, ports: Sequence[Port], features: Sequence[Feature]) -> None:
    by_name = {feature.name: feature for feature in features}
    for port in ports:
        feature = by_name[port.name]
        if port.dtype != feature.dtype:
            raise EngineError(
                f"{graph.file}: {port.name} is {feature.dtype}, where the manifest says "
                f"{port.dtype}. Make the bundle again."
            )
        if not _fits(graph_shape(port), feature):
            raise EngineError(
                f"{graph.file}: {port.name} has shape {list(feature.shape)}, where the manifest "
                f"says {list(graph_shape(port))}. Make the bundle again."
            )


def _fits(shape: tuple[int | str, ...], feature: Feature) -> bool:
    """Whether a package's array may be what the manifest says; it need not tell outputs' shapes."""
    if not feature.shape or feature.shapes or feature.ranges:
        return True
    return len(shape) == len(feature.shape) and all(
        isinstance(axis, str) or axis == size
        for axis, size in zip(shape, feature.shape, strict=True)
    )
