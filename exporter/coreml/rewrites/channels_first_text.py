"""Takes the U-Net's text embedding as (batch, width, 1, tokens), as Apple's packages do."""

from __future__ import annotations

from typing import Any

import torch

from exporter.coreml.program import VALUE, Program, shape_of, value_of

_aten: Any = torch.ops.aten

TEXT = "encoder_hidden_states"
"""The port; [b, tokens, width] as captured."""


def channels_first_text(program: Program) -> None:
    """Replaces the text embedding's input; a program without one stays as it is.

    The program goes on with the embedding transposed back, [b, tokens, width], until
    `channel_layout` finds that its layers can take it as it comes.
    """
    if TEXT not in program.inputs:
        return
    old = program.inputs[TEXT]
    batch, tokens, width = shape_of(old)
    with program.graph.inserting_before(old):
        new = program.graph.placeholder(f"{TEXT}_channels_first")
    with program.mode:
        new.meta[VALUE] = torch.empty((batch, width, 1, tokens), dtype=value_of(old).dtype)
    with program.graph.inserting_before(_first_operator(program)):
        flat = program.call(_aten.reshape.default, new, [batch, width, tokens])
        program.replace(old, program.call(_aten.transpose.int, flat, 1, 2))
    program.inputs[TEXT] = new
    program.graph.erase_node(old)


def _first_operator(program: Program) -> torch.fx.Node:
    return next(node for node in program.graph.nodes if node.op != "placeholder")
