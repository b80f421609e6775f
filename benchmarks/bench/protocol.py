"""How a benchmark talks to the process that it measures.

What is measured runs in a process of its own, so that its memory can be told from the rest and a
crash costs one row. The process reads requests and writes replies, a line of JSON each, on its
standard input and output; whatever a library prints goes to standard error. Requests are

    {"open": {}}     loads the subject once               → Opened
    {"draw": Ask}    draws a picture and times its stages → Drawn

and the end of the input ends the process. A reply is {"opened": …}, {"drawn": …}, or {"error":
"one line"}, after which the process goes on.

This file imports the standard library alone: other programs' environments run it too.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, TextIO, TypeVar

T = TypeVar("T")

_MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Ask:
    """One call of a subject.

    Attributes:
        prompt: what to draw.
        negative_prompt: what guidance leads away from.
        num_inference_steps: of the sampler.
        guidance_scale: 1 or less turns guidance off.
        sampler: latedge's name of it.
        seed: of the noise.
        height: in pixels.
        width: in pixels.
        count: pictures at once.
        picture: path of an .npy file for the pictures, float32 [count, H, W, 3] in [0, 1]; None
            throws them away.
        latents: path of an .npy file with the noise, float32 [count, c, h, w]; None draws it from
            the seed as torch's generator on the CPU does.
    """

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    sampler: str
    seed: int
    height: int
    width: int
    count: int = 1
    picture: str | None = None
    latents: str | None = None


@dataclass(frozen=True)
class Opened:
    """What a subject says of itself once it is loaded.

    Attributes:
        load_ms: from the request to the loaded subject: its imports and its first look at its
            files included.
        engine: with its version.
        device: as the engine names it.
        precision: of the U-Net's weights as stored.
        threads: within an operation; None where the engine chose.
        packages: version by package, where they are other than the benchmark's own.
    """

    load_ms: float = 0.0
    engine: str = ""
    device: str = ""
    precision: str = ""
    threads: int | None = None
    packages: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Drawn:
    """Milliseconds of one call by stage of `benchmarks.bench.results.STAGES`.

    Attributes:
        stages: one number a call of the stage; a stage that can't be told apart is absent.
    """

    stages: dict[str, list[float]]


class Subject(Protocol):
    """What is measured, within the process of its own."""

    def open(self) -> Opened:
        """Loads it; `load_ms` is filled in by `serve`."""
        ...

    def draw(self, ask: Ask) -> Drawn:
        """Draws a picture and times its stages."""
        ...


def serve(subject: Subject, *, describe: Callable[[BaseException], str] | None = None) -> None:
    """Answers requests until the input ends.

    Args:
        subject: what is measured.
        describe: makes one line of an error; None takes its own first line.
    """
    replies = _own_output()
    for line in sys.stdin:
        try:
            reply = _answer(subject, json.loads(line))
        # Whatever a library raises is the row's error, and the parent decides what is next.
        except Exception as e:
            reply = {"error": (describe or _first_line)(e)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


@contextmanager
def uncollected() -> Generator[None]:
    """Around a picture: no garbage is collected within it, and the last one left none."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def of(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of a reply or request; fields it doesn't know are ignored."""
    known = {each.name for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{key: value for key, value in values.items() if key in known})


def _answer(subject: Subject, request: dict[str, Any]) -> dict[str, Any]:
    if "open" in request:
        start = time.perf_counter()
        opened = subject.open()
        load_ms = (time.perf_counter() - start) * 1000
        return {"opened": {**asdict(opened), "load_ms": load_ms}}
    return {"drawn": asdict(subject.draw(of(Ask, request["draw"])))}


def _own_output() -> TextIO:
    """The real standard output; what anyone else prints there goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(kept, "w", encoding="utf-8", newline="\n")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {text}"[:_MOST_CHARACTERS]
