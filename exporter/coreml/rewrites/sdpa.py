"""Attention as the one operator that it is captured as, which MIL has from iOS 18 on."""

from __future__ import annotations

from exporter.coreml.program import Program
from exporter.coreml.rewrites.attention import attention_nodes, attention_of


def sdpa(program: Program) -> None:
    """Leaves the program as it is, once sure that its attention is whole.

    Raises:
        CompileError: attention of a kind that MIL's operator doesn't cover.
    """
    for node in attention_nodes(program):
        attention_of(node)
