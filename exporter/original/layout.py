"""The blocks of a U-Net, read off its Diffusers keys.

diffusers describes a U-Net by its levels: how many layers each has, whether they attend to text,
and how many transformer layers an attention is made of. The way up mirrors the way down but in
pruned models, where `reverse_transformer_layers_per_block` describes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exporter.errors import WeightError
from exporter.original.shapes import Shapes

Depth = int | list[int]
"""Transformer layers of an attention: the same in each layer of a level, or one by one."""


@dataclass(frozen=True)
class _Level:
    """A block of a U-Net.

    Attributes:
        name: as its keys begin.
        depths: transformer layers of each of its layers, 0 where one has no attention.
    """

    name: str
    depths: tuple[int, ...]

    @property
    def attends(self) -> bool:
        return any(self.depths)

    @property
    def depth(self) -> Depth:
        return self.depths[0] if len(set(self.depths)) == 1 else list(self.depths)


def block_layout(shapes: Shapes) -> dict[str, Any]:
    """The fields of `UNet2DConditionModel` on its blocks.

    Raises:
        WeightError: no such U-Net can have these blocks.
    """
    downs, ups = _levels(shapes, "down_blocks"), _levels(shapes, "up_blocks")
    _check_mirrored(shapes.network, downs, ups)
    mid_type, mid_depth = _mid(shapes)
    return {
        "down_block_types": [_block("Down", level) for level in downs],
        "mid_block_type": mid_type,
        "up_block_types": [_block("Up", level) for level in ups],
        "layers_per_block": [len(level.depths) for level in downs],
        **_depths(shapes.network, downs, ups, mid_depth),
    }


def _levels(shapes: Shapes, side: str) -> list[_Level]:
    return [_level(shapes, f"{side}.{n}") for n in range(shapes.count(f"{side}."))]


def _level(shapes: Shapes, name: str) -> _Level:
    layers = range(shapes.count(f"{name}.resnets."))
    attention = f"{name}.attentions.{{}}.transformer_blocks."
    level = _Level(name, tuple(shapes.count(attention.format(layer)) for layer in layers))
    if level.attends and not all(level.depths):
        without = ", ".join(str(n) for n in layers if not level.depths[n])
        raise WeightError(
            f"{shapes.network}: {name} has attention in some of its layers and none in layer "
            f"{without}; UNet2DConditionModel has it in all layers of a level or in none."
        )
    return level


def _block(direction: str, level: _Level) -> str:
    return f"{'CrossAttn' if level.attends else ''}{direction}Block2D"


def _check_mirrored(network: str, downs: Sequence[_Level], ups: Sequence[_Level]) -> None:
    """Refuses a way up that hasn't a layer more in each level than the way down."""
    found = [len(level.depths) for level in ups]
    wanted = [len(level.depths) + 1 for level in reversed(downs)]
    if found != wanted:
        raise WeightError(
            f"{network}: the levels have {found} layers on the way up, where UNet2DConditionModel "
            f"has {wanted}: one more than on the way down."
        )


def _mid(shapes: Shapes) -> tuple[str | None, int]:
    """The middle block's type, and the transformer layers of its attention."""
    resnets, attentions = (shapes.count(f"mid_block.{part}.") for part in ("resnets", "attentions"))
    known = {
        (0, 0): None,
        (1, 0): "UNetMidBlock2D",
        (2, 1): "UNetMidBlock2DCrossAttn",
    }
    if (resnets, attentions) not in known:
        raise WeightError(
            f"{shapes.network}: the middle block has {resnets} resnets and {attentions} "
            "attentions; UNet2DConditionModel has 2 and 1, 1 and 0, or no such block."
        )
    depth = shapes.count("mid_block.attentions.0.transformer_blocks.")
    return known[resnets, attentions], depth


def _depths(
    network: str, downs: Sequence[_Level], ups: Sequence[_Level], mid: int
) -> dict[str, object]:
    """Transformer layers by level; a level without attention has whatever number is simplest."""
    down = [
        level.depth if level.attends else mirror.depth if mirror.attends else 1
        for level, mirror in zip(downs, reversed(ups), strict=True)
    ]
    if mid and downs and not downs[-1].attends:
        down[-1] = mid  # diffusers' middle block takes the last level's number
    _check_mid(network, down, mid)
    up = [level.depth if level.attends else 1 for level in ups]
    known = {depth for level in (*downs, *ups) for depth in level.depths if depth}
    known |= {mid} if mid else set()
    if len(known) <= 1:
        return {"transformer_layers_per_block": known.pop() if known else 1}
    mirrored = all(
        not level.attends or there == back
        for level, there, back in zip(ups, reversed(down), up, strict=True)
    )
    plain = all(isinstance(depth, int) for depth in down)
    if mirrored and plain:
        return {"transformer_layers_per_block": down}
    return {
        "transformer_layers_per_block": down,
        "reverse_transformer_layers_per_block": up,
    }


def _check_mid(network: str, down: Sequence[Depth], mid: int) -> None:
    last = down[-1] if down else mid
    first = last if isinstance(last, int) else last[0]
    if mid and mid != first:
        raise WeightError(
            f"{network}: the middle block's attention has {mid} transformer layers and the last "
            f"level's {first}; UNet2DConditionModel has one number for both."
        )
