"""The sizes for which a bundle has graphs, each as a manifest of that size alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtimes.built_sizes import built_sizes
from runtimes.bundle import PLAIN, Bundle
from runtimes.manifest import Graph, Manifest


@dataclass(frozen=True)
class Sized:
    """A manifest of which the graphs for one size are the plain ones.

    Attributes:
        manifest: with that size as its default.
        components: those with a graph of the size, in their order.
        suffix: " 768x512" or the like behind their names; nothing of the first size.
    """

    manifest: Manifest
    components: tuple[str, ...]
    suffix: str = ""


def each_size(folder: Path, manifest: Manifest) -> Iterator[Sized]:
    """The default size first, with all components; of the others those that have graphs for it.

    Args:
        folder: the bundle.
        manifest: its manifest.
    """
    yield Sized(manifest, tuple(manifest.components))
    if "unet" not in manifest.components:
        return
    for height, width in built_sizes(Bundle(folder, manifest))[1:]:
        name = f"{PLAIN}.{height}x{width}"
        graphs = {
            each: part.graphs[name]
            for each, part in manifest.components.items()
            if name in part.graphs
        }
        yield Sized(_of(manifest, graphs, height, width), tuple(graphs), f" {height}x{width}")


def _of(manifest: Manifest, graphs: dict[str, Graph], height: int, width: int) -> Manifest:
    parts = {
        name: msgspec.structs.replace(manifest.components[name], graphs={PLAIN: graph})
        for name, graph in graphs.items()
    }
    defaults = msgspec.structs.replace(manifest.defaults, height=height, width=width)
    return msgspec.structs.replace(
        manifest, components={**manifest.components, **parts}, defaults=defaults
    )
