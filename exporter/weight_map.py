"""The map from weight keys to what an engine has of them: `weight_map.json` of a component.

Run-time LoRA and refit find a weight through it. A weight that a pass altered is mapped with how it
was altered, or marked as not adaptable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

WEIGHT_MAP_NAME = "weight_map.json"

Layout = Literal["canonical", "transposed", "absent"]


class Mapped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One weight in an engine's graph.

    Attributes:
        tensor: what the engine's graph calls it.
        dtype: how it is stored there: "float32", "float16" or "bfloat16".
        layout: "canonical" as in the Diffusers file, "transposed" with its axes reversed, "absent"
            where it was folded into something else.
        shape: its sizes there.
        adaptable: whether new values may be put in its place.
    """

    tensor: str
    dtype: str
    layout: Layout
    shape: tuple[int, ...]
    adaptable: bool = True


def write_weight_map(folder: Path, weights: Mapping[str, Mapped]) -> str:
    """Writes the map of a component into its folder and returns the file's name."""
    raw = msgspec.json.format(msgspec.json.encode(weights, order="sorted"), indent=1)
    (folder / WEIGHT_MAP_NAME).write_bytes(raw + b"\n")
    return WEIGHT_MAP_NAME


def read_weight_map(path: Path) -> dict[str, Mapped]:
    """Reads a map that `write_weight_map` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Mapped])
