"""A graph that is one Core ML package, or several that run one after the other.

What the engines over packages have in common: where a package lies, and how a call goes through the
chunks of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from runtimes.engine import Array
from runtimes.engines.contract import check_names
from runtimes.errors import EngineError
from runtimes.manifest import Graph

_SUFFIX = ".mlpackage"


class Chunk(NamedTuple):
    """A loaded package.

    Attributes:
        inputs: names of what it takes.
        outputs: names of what it gives.
        run: feeds by name → what it gives, by name.
    """

    inputs: Collection[str]
    outputs: Collection[str]
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]]


def package_folders(folder: Path, graph: Graph) -> tuple[Path, ...]:
    """The packages of a graph, in the order in which they run.

    Args:
        folder: the bundle.
        graph: its `file` and `chunks` are the packages' model files.

    Raises:
        EngineError: a file lies in no package.
    """
    return tuple(_package(folder, name) for name in (graph.file, *graph.chunks))


def _package(folder: Path, name: str) -> Path:
    for parent in Path(name).parents:
        if parent.suffix == _SUFFIX:
            return folder / parent
    raise EngineError(f"{name} can't be loaded: it lies in no {_SUFFIX}. Make the bundle again.")


def check_chunks(graph: Graph, chunks: Sequence[Chunk]) -> None:
    """Compares the names of a graph's chunks with the manifest's.

    Raises:
        EngineError: together they take other inputs than the manifest says, or the last one gives
            other outputs.
    """
    taken: dict[str, None] = {}
    given: set[str] = set()
    for chunk in chunks:
        taken |= dict.fromkeys(name for name in chunk.inputs if name not in given)
        given |= set(chunk.outputs)
    check_names(graph, "inputs", graph.inputs, taken)
    check_names(graph, "outputs", graph.outputs, chunks[-1].outputs)


def run_chunks(chunks: Sequence[Chunk], feeds: Mapping[str, Array]) -> Mapping[str, Array]:
    """What the last chunk gives; each is fed with the inputs, and what those before it gave.

    Args:
        chunks: that `check_chunks` has taken.
        feeds: by the graph's input names, as the graph wants them.
    """
    known, found = dict(feeds), dict[str, Array]()
    for chunk in chunks:
        found = dict(chunk.run({name: known[name] for name in chunk.inputs}))
        known |= found
    return found
