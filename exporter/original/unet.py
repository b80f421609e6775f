"""The U-Net's keys in the original naming → Diffusers keys.

The original numbers its blocks through: a level of n layers is `input_blocks` 1 … n and a
downsampling one; `output_blocks` have n + 1 layers a level, the last of which upsamples. So a
level ends where a block samples down or up, whatever n is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_PLAIN = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_BLOCK = re.compile(r"(input|output)_blocks\.(\d+)\.")
_DOWN = re.compile(r"input_blocks\.\d+\.0\.op\.")
_UP = re.compile(r"output_blocks\.\d+\.[12]\.conv\.")


def rename_unet(keys: Iterable[str]) -> dict[str, str | None]:
    """Original key, without its prefix → Diffusers key; None for a key that is not the U-Net's."""
    listed = list(keys)
    modules = {**_PLAIN, **_modules(listed)}
    return {key: _rename(key, modules) for key in listed}


def _modules(keys: list[str]) -> dict[str, str]:
    """Original path → Diffusers path of the modules of all numbered blocks."""
    downs, ups = _samplers(keys, _DOWN), _samplers(keys, _UP)
    found: dict[str, str] = {}
    level = layer = 0
    for number in range(1, _count(keys, "input")):
        old = f"input_blocks.{number}"
        if number in downs:
            found[f"{old}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            level, layer = level + 1, 0
        else:
            found |= _layer(old, f"down_blocks.{level}", layer)
            layer += 1
    level = layer = 0
    for number in range(_count(keys, "output")):
        old = f"output_blocks.{number}"
        if number in ups:
            # It follows the attention where there is one.
            found[f"{old}.{ups[number]}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
        found |= {
            path: new
            for path, new in _layer(old, f"up_blocks.{level}", layer).items()
            if path != f"{old}.{ups.get(number)}"
        }
        level, layer = (level + 1, 0) if number in ups else (level, layer + 1)
    return found


def _layer(old: str, block: str, layer: int) -> dict[str, str]:
    return {f"{old}.0": f"{block}.resnets.{layer}", f"{old}.1": f"{block}.attentions.{layer}"}


def _count(keys: list[str], side: str) -> int:
    numbers = (match for match in map(_BLOCK.match, keys) if match and match[1] == side)
    return 1 + max((int(match[2]) for match in numbers), default=-1)


def _samplers(keys: list[str], pattern: re.Pattern[str]) -> dict[int, str]:
    """Block number → position in the block of its down- or upsampling convolution."""
    blocks = (key.split(".") for key in keys if pattern.match(key))
    return {int(parts[1]): parts[2] for parts in blocks}


def _rename(key: str, modules: Mapping[str, str]) -> str | None:
    module, _, leaf = key.rpartition(".")
    if module in modules:
        return f"{modules[module]}.{leaf}"
    parts = key.split(".")
    for depth in (3, 2):
        head, rest = ".".join(parts[:depth]), ".".join(parts[depth:])
        new = modules.get(head)
        if new is None:
            continue
        if ".attentions." in new:
            return f"{new}.{rest}"
        inner, _, leaf = rest.rpartition(".")
        if ".resnets." in new and inner in _RESNET:
            return f"{new}.{_RESNET[inner]}.{leaf}"
    return None
