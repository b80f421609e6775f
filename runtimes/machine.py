"""What of a machine decides the bits of a picture: its processor, and how many cores there are.

Engines choose their kernels by the processor's vector instructions, and split sums by its threads.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import cache
from pathlib import Path

VECTOR_FLAGS = (
    *("sse4_2", "avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
"""Names in Linux's /proc/cpuinfo of instructions that engines have kernels for."""


@cache
def machine() -> str:
    """Such as "x86_64, AMD EPYC 7763, sse4_2 avx fma avx2, 2 cores"; the same for each call."""
    name, flags = _processor()
    cores = _usable_cores()
    told = (platform.machine(), name, flags, f"{cores} core{'s' if cores > 1 else ''}")
    return ", ".join(filter(None, told))


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, str]:
    """The model and its vector instructions, as far as the system tells."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Windows's own names of a processor give its model's number; macOS says "arm" or "i386".
        return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor(), ""
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(listed[1].split()) if listed else set[str]()
    return (model[1].strip() if model else ""), " ".join(f for f in VECTOR_FLAGS if f in has)


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
