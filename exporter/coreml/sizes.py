"""Several sizes of picture in one package: a function for each, over the same weights.

Core ML's programs have fixed shapes, and the Neural Engine takes no others. From iOS 18 on a
package can hold several functions; constants that are equal lie in its weight file once.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.coreml.targets import Deployment

MAIN = "main"
"""The function that runs where none is named."""

Size = tuple[int, int]
"""Height and width of pictures in pixels."""


def check_sizes(sizes: Sequence[Size], deployment: Deployment) -> None:
    """Refuses sizes that can't lie in one package.

    Raises:
        UsageError: there are several before iOS 18.
    """
    if len(sizes) > 1:
        listed = ", ".join(map(_text, sizes))
        deployment.require("iOS18", f"several sizes in one package ({listed})")


def function_name(sizes: Sequence[Size], size: Size) -> str:
    """The function of a package that takes a size: that of the first runs where none is named."""
    return MAIN if size == sizes[0] else f"size_{_text(size)}"


def graph_name(sizes: Sequence[Size], size: Size) -> str:
    """The graph of a component, in the manifest, that takes a size."""
    return "model" if size == sizes[0] else f"model.{_text(size)}"


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
