"""The sizes of pictures for which a bundle has graphs, and the choice among them.

A component may have a graph for each of several sizes: "model" for the first, "model.768x512" for
pictures 768 pixels high and 512 wide, and so on (`runtimes.bundle.Bundle.graph_name`). The U-Net's
are those of the bundle.
"""

from __future__ import annotations

import re
from dataclasses import replace

from runtimes.bundle import PLAIN, Bundle
from runtimes.checks import is_whole
from runtimes.errors import UsageError
from runtimes.latents import built_cells

Size = tuple[int, int]
"""Height and width in pixels."""

_NAMED = re.compile(rf"{PLAIN}\.(\d+)x(\d+)")


def built_sizes(bundle: Bundle) -> tuple[Size, ...]:
    """The sizes of which the U-Net has graphs; none where it takes any.

    The default comes first, the others by height and width.

    Raises:
        BundleError: there is no U-Net.
    """
    height, width = built_cells(replace(bundle, size=None), "unet")
    if height is None or width is None:
        return ()
    factor = bundle.manifest.latents.vae_factor
    names = map(_NAMED.fullmatch, bundle.manifest.components["unet"].graphs)
    others = [(int(found[1]), int(found[2])) for found in names if found is not None]
    return (height * factor, width * factor), *sorted(others)


def at_asked_size(bundle: Bundle, height: object, width: object) -> Bundle:
    """A bundle whose graphs for the size that a call asks for are meant.

    Where one side is asked for, it is the first size that has it; where none is, the first.

    Args:
        bundle: built for one size, for several or for any.
        height: in pixels, as it was asked for; None where it wasn't.
        width: likewise.

    Raises:
        UsageError: the bundle was built for several sizes, and this is none of them.
    """
    sizes = built_sizes(bundle)
    if len(sizes) < 2 or not all(side is None or is_whole(side) for side in (height, width)):
        return bundle
    asked = {"height": height, "width": width}
    said = {name: side for name, side in asked.items() if side is not None}
    for size in sizes:
        found = dict(zip(asked, size, strict=True))
        if all(found[name] == side for name, side in said.items()):
            return bundle.at(*size)
    known = ", ".join(f"{high}×{wide}" for high, wide in sizes)
    raise UsageError(
        f"{' and '.join(f'{name} {side}' for name, side in said.items())} can't be made: this "
        f"bundle was built for {known} (height×width)."
    )
