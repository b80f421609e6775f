"""Whether the programs draw the same picture: a speed says little of a program that doesn't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.client import Worker
from benchmarks.bench.entry import Entry
from benchmarks.bench.protocol import Ask
from benchmarks.bench.quality import psnr_db
from benchmarks.bench.results import PICTURE, Quality
from runtimes.errors import LatedgeError

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """The picture that the others are compared with.

    Attributes:
        name: of what drew it.
        picture: float32 [1, H, W, 3] in [0, 1].
    """

    name: str
    picture: Picture


@dataclass(frozen=True)
class First:
    """What a subject did the first time.

    Attributes:
        picture: float32 [1, H, W, 3] in [0, 1].
        load_ms: until it was loaded.
        first_call_ms: of the picture.
    """

    picture: Picture
    load_ms: float
    first_call_ms: float

    def note(self) -> str:
        """The times in a line: caches that a program keeps are filled here."""
        return (
            f"its first process of all, with empty caches: load {self.load_ms / 1000:.2f} s, "
            f"picture {self.first_call_ms / 1000:.2f} s"
        )


def draw(entry: Entry, ask: Ask, place: Path) -> First:
    """Draws one picture with a subject, in a process of its own.

    Raises:
        WorkerError: it can't be loaded, failed or took too long.
        LatedgeError: the picture isn't one.
    """
    place.unlink(missing_ok=True)
    with Worker(entry.program) as worker:
        opened = worker.open()
        drawn = worker.draw(ask)
    found: NDArray[Any] = np.load(place)
    place.unlink()
    shape = (ask.count, ask.height, ask.width, 3)
    if found.shape != shape:
        raise LatedgeError(f"its picture has shape {list(found.shape)}, not {list(shape)}")
    if not np.isfinite(found).all():
        raise LatedgeError("its picture holds NaN or infinite values")
    return First(found.astype(np.float32), opened.load_ms, sum(drawn.stages[PICTURE]))


def compare(reference: Reference, picture: Picture) -> Quality:
    """The figures of one picture beside the reference's."""
    found = psnr_db(picture, reference.picture)
    return Quality(reference=reference.name, psnr_db=found, psnr_db_min=found, equal=found is None)
