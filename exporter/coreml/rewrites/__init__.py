"""Rewrites of captured programs, one per file. A rewrite changes a program in place.

| attention | for | what it does |
|---|---|---|
| `sdpa` | iOS 18, macOS 15 and newer | leaves attention as the one operator that it is |
| `original` | the GPU, all targets | products of all heads at once, softmax between |
| `split-einsum` | the Neural Engine | (batch, channels, 1, sequence), each head by itself |
| `split-einsum-v2` | the Neural Engine | as `split-einsum`, 512 queries at a time |

All take the text embedding as Apple's packages do, (batch, width, 1, tokens).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from exporter.coreml.targets import Deployment
from runtimes import registry
from runtimes.errors import unknown_name

if TYPE_CHECKING:
    from exporter.coreml.program import Program

ATTENTIONS: dict[str, str] = {
    "original": "exporter.coreml.rewrites.original:original",
    "sdpa": "exporter.coreml.rewrites.sdpa:sdpa",
    "split-einsum": "exporter.coreml.rewrites.split_einsum:split_einsum",
    "split-einsum-v2": "exporter.coreml.rewrites.split_einsum:split_einsum_v2",
}
"""Name → rewrite, imported on use (the modules import torch)."""

ENTRY_POINTS = "latedge.coreml_attentions"


def check_attention(attention: str, deployment: Deployment) -> None:
    """Refuses an attention that a deployment target has no operator for.

    Args:
        attention: a name of `ATTENTIONS`.
        deployment: the oldest system that shall run it.

    Raises:
        UsageError: the name is unknown, or the target is too old.
    """
    known = registry.names(ATTENTIONS, ENTRY_POINTS)
    if attention not in known:
        raise unknown_name("attention", attention, known)
    if attention == "sdpa":
        deployment.require("iOS18", "attention as one operator, 'sdpa'")


def rewrite_attention(program: Program, attention: str) -> None:
    """Rewrites a captured program's attention, and the layout of its text embedding.

    Args:
        program: as `exporter.coreml.program.capture_program` gave it; changed in place.
        attention: a name of `ATTENTIONS`.

    Raises:
        UsageError: the name is unknown; lists the known ones and the closest.
        CompileError: attention of a kind that no rewrite covers.
    """
    loaded = registry.load("attention", attention, ATTENTIONS, ENTRY_POINTS)
    from exporter.coreml.rewrites.attention import assert_whole
    from exporter.coreml.rewrites.channels_first_text import channels_first_text
    from exporter.coreml.rewrites.forget_memory import forget_memory

    assert_whole(program)
    forget_memory(program)
    channels_first_text(program)
    cast("Callable[[Program], None]", loaded)(program)
    program.tidy()
