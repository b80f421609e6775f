"""Fixes the sizes of a folder of Optimum-Intel: `… reshape_intel FOLDER OUTPUT HEIGHT WIDTH`."""

from __future__ import annotations

import sys

from benchmarks.interop.draw_diffusers import open_pipeline


def reshape(folder: str, output: str, height: str, width: str) -> None:
    """Saves the folder's graphs for one picture of a size, with Optimum-Intel's own means."""
    pipeline = open_pipeline("optimum-intel", folder)
    pipeline.reshape(1, int(height), int(width), 1)
    pipeline.save_pretrained(output)


if __name__ == "__main__":
    reshape(*sys.argv[1:])
