"""How much memory the work on a component will take, known from headers before it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping

from exporter.memory import MemoryLimitError, gigabytes
from exporter.prepare import Prepared
from exporter.progress import Progress
from runtimes.process_memory import rss_bytes

ENGINE_TIMES = 2.0
"""What an engine holds of a network, by its weights in float32: those, and them once more as its
kernels take them packed. Measured with ONNX Runtime: 1.9 of SDXL's first text encoder, 2.9 of its
VAE's decoder, of which 0.15 GB are the graph itself."""

_FLOAT32_BYTES = 4


def float32_bytes(item: Prepared) -> int:
    """Of all weights of a component."""
    return _FLOAT32_BYTES * sum(math.prod(tensor.shape) for tensor in item.weights.values())


def largest_bytes(item: Prepared) -> int:
    """Of the largest weight in float32: what torch holds at a time of a network that is mapped."""
    return _FLOAT32_BYTES * max(math.prod(tensor.shape) for tensor in item.weights.values())


def announce(name: str, item: Prepared, progress: Progress, *, by_layer: bool) -> None:
    """Tells what the verification of a component will take."""
    if by_layer:
        held = gigabytes(largest_bytes(item))
        progress(f"{name}: verified a layer at a time; the largest weight takes {held} in float32")
        return
    progress(
        f"{name}: verifying it takes about {gigabytes(_engine_bytes(item))} for its weights in the "
        "engine, activations aside; torch reads them one at a time"
    )


def check_needs(prepared: Mapping[str, Prepared], limit: int | None, verify: str) -> None:
    """Refuses, before slow work, what can't be done within a limit.

    Args:
        prepared: the components to export.
        limit: bytes, or None.
        verify: as `exporter.export.export` takes it.

    Raises:
        MemoryLimitError: says what needs how much.
    """
    if limit is None:
        return
    held = rss_bytes() or 0
    if held > limit:
        raise MemoryLimitError(
            f"before any work this process takes {gigabytes(held)} of memory, and --max-memory "
            f"allows {gigabytes(limit)}; give it more."
        )
    if verify not in ("components", "image"):
        return
    for name, item in prepared.items():
        needed = held + _engine_bytes(item)
        if needed > limit:
            raise MemoryLimitError(
                f"{name}: verifying it needs about {gigabytes(needed)} of memory, activations "
                f"aside, and --max-memory allows {gigabytes(limit)}; give it more, or take "
                "--verify layers or --verify none."
            )


def _engine_bytes(item: Prepared) -> int:
    return int(ENGINE_TIMES * float32_bytes(item))
