"""What `compile --target coreml` takes beside what every target takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtimes.errors import UsageError

ATTENTION = "split-einsum"
"""For the Neural Engine; the default of Apple's converter too."""

DEPLOYMENT_TARGET = "iOS17"
"""The oldest that Apple's Swift package runs SDXL on."""

_SIZE = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, kw_only=True)
class CoreMlOptions:
    """How Core ML packages are made.

    Attributes:
        deployment_target: oldest system that runs them, such as "iOS17"; None for the default.
        attention: one of `exporter.coreml.rewrites.ATTENTIONS`; None for `ATTENTION`.
        compression: how weights are stored in fewer bits, such as "palette-6"; None in none fewer.
        recipe: a `quantization.json` of the U-Net that was measured before, for "mixed-…" and
            "w8a8"; None measures.
        sizes: "HxW" of pictures in pixels, the default first; several share a package's weights.
        chunked: the U-Net as two packages, for phones.
    """

    deployment_target: str | None = None
    attention: str | None = None
    compression: str | None = None
    recipe: Path | None = None
    sizes: tuple[str, ...] = ()
    chunked: bool = False

    def as_options(self) -> dict[str, object]:
        """Those that were given, by their names on the command line."""
        given = {
            "deployment-target": self.deployment_target,
            "attention": self.attention,
            "compress": self.compression,
            "recipe": self.recipe,
            "sizes": ",".join(self.sizes) if self.sizes else None,
            "chunk-unet": self.chunked or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def given(self) -> tuple[str, ...]:
        """The names of those that were given."""
        return tuple(self.as_options())


NO_OPTIONS = CoreMlOptions()
"""All as by default."""


def read_sizes(sizes: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Heights and widths of "HxW".

    Raises:
        UsageError: one is no such size, or is named twice.
    """
    found: list[tuple[int, int]] = []
    for size in sizes:
        match = _SIZE.fullmatch(size)
        if match is None:
            raise UsageError(
                f"{size!r} is no size; give height and width in pixels, such as 512x768."
            )
        if (pair := (int(match[1]), int(match[2]))) in found:
            raise UsageError(f"size {size} is given twice; give each once.")
        found.append(pair)
    return tuple(found)
