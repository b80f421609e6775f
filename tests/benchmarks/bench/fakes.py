"""Entries of the fake worker, and an ask."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench.client import Program
from benchmarks.bench.entry import Entry
from benchmarks.bench.protocol import Ask

WORKER = Path(__file__).with_name("fake_worker.py")

ASK = Ask(
    prompt="x",
    negative_prompt="",
    num_inference_steps=3,
    guidance_scale=2.0,
    sampler="ddim",
    seed=0,
    height=64,
    width=64,
)


def fake_program(**given: object) -> Program:
    """A worker that behaves as it is told: see `fake_worker`."""
    words = (f"{key}={value}" for key, value in given.items())
    return Program((sys.executable, str(WORKER), *words))


def fake_entry(name: str = "fake", **given: object) -> Entry:
    """An entry of it; its one file is the worker itself."""
    return Entry(name, fake_program(**given), "fake", WORKER, (WORKER,))
