"""Results of two runs, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.bench.results import (
    PICTURE,
    UNET_CALL,
    Machine,
    Memory,
    Noise,
    Plan,
    Report,
    Settings,
    Subject,
)
from benchmarks.bench.statistics import stage, summarize

MACHINE = Machine(system="Linux 6.1 x86_64", processor="P", cores=2, memory_bytes=8_000_000_000)
PLAN = Plan(sessions=4, rounds=2, warmup=2)
SETTINGS = Settings(
    prompt="x",
    negative_prompt="",
    num_inference_steps=5,
    guidance_scale=2.0,
    sampler="ddim",
    seed=0,
    height=64,
    width=64,
)
LEVELS = (0.999, 1.0, 1.0, 1.001)
"""By session: a quiet machine."""


def noise(reference_ms: float = 10.0, others: float | None = 0.02, **fields: Any) -> Noise:
    """How steady the machine was: quiet, where nothing else is said."""
    kept: dict[str, Any] = {
        "load_before": 0.1,
        "others_share": others,
        "others_share_max": others,
        "steal_share": 0.0,
        "reference": summarize([[reference_ms] * 3]),
        "drift": 0.0,
        "frequency_drop": None,
        "temperature_c": None,
        "verdict": "quiet",
        **fields,
    }
    return Noise(**kept)


def subject(
    name: str = "a", picture_ms: float = 100.0, levels: Sequence[float] = LEVELS, **fields: Any
) -> Subject:
    """A subject whose pictures take so long, in as many sessions as there are levels."""
    sessions = [[picture_ms * level] * 2 for level in levels]
    kept: dict[str, Any] = {
        "program": "latedge",
        "path": "/p",
        "engine": "onnxruntime 1",
        "device": "cpu",
        "threads": 1,
        "model_sha256": "m",
        "settings": SETTINGS,
        "size_bytes": 1000,
        "memory": Memory(peak_rss=10_000),
        "stages": {UNET_CALL: stage(sessions), PICTURE: stage(sessions)},
        **fields,
    }
    return Subject(name=name, **kept)


def report(*subjects: Subject, **fields: Any) -> Report:
    """A run of these subjects; of one as it is, where none is given."""
    made = Report(
        date="2026-11-25T00:00:00+00:00",
        command="latedge bench a",
        version="0",
        machine=MACHINE,
        plan=PLAN,
        subjects=subjects or (subject(),),
        noise=noise(),
    )
    return msgspec.structs.replace(made, **fields)
