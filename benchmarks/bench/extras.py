"""What is measured apart from the sessions, each in a process of its own.

Cold loads, several pictures at once, other sizes. Each takes the median of a few calls; they say
how cost grows, not which of two subjects is faster.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmarks.bench.client import Worker
from benchmarks.bench.entry import Entry, files_of
from benchmarks.bench.page_cache import drop
from benchmarks.bench.protocol import Ask, Drawn
from benchmarks.bench.results import PICTURE, UNET_CALL, VAE_DECODER, Batch, Resolution
from benchmarks.bench.sessions import sampler_of
from runtimes.errors import LatedgeError

T = TypeVar("T")
Tell = Callable[[str], None]

CALLS = 3
"""Pictures of which the median is taken, after one that is not counted."""


def prepare(entry: Entry) -> int:
    """Loads and draws nothing: files come into the page cache, engines fill their own caches.

    Returns:
        The peak of the process tree's memory, bytes.

    Raises:
        WorkerError: it can't be loaded.
        SamplerError: its memory can't be told.
    """
    with Worker(entry.program) as worker:
        return _peak_while(worker, worker.open)[1]


def cold_load(entry: Entry, cache: Path) -> float | str:
    """Milliseconds to load a subject whose files the page cache doesn't hold.

    What the engine keeps of it in latedge's cache is dropped as well. The interpreter's and the
    libraries' files stay where they are.

    Args:
        entry: the subject.
        cache: latedge's cache folder.

    Returns:
        The milliseconds, or why they can't be had.

    Raises:
        WorkerError: it can't be loaded.
    """
    with Worker(entry.program) as worker:
        try:
            gone = drop((*entry.files, *files_of(cache)))
        except OSError as e:
            return f"no cold load: {e.filename}: {e.strerror}"
        if gone is None:
            return "no cold load: this system doesn't drop files from its cache"
        if not gone:
            return "no cold load: pages of the files stayed in the system's cache"
        return worker.open().load_ms


def measure_batches(entry: Entry, ask: Ask, sizes: Sequence[int], tell: Tell) -> list[Batch]:
    """Throughput by how many pictures are made at once."""
    found: list[Batch] = []
    for size in sizes:
        tell(f"{entry.name}: {size} at once")
        try:
            drawn, peak = _calls(entry, replace(ask, count=size))
        except LatedgeError as e:
            found.append(Batch(size=size, error=str(e)))
            continue
        batch_ms = statistics.median(sum(each.stages[PICTURE]) for each in drawn)
        rate = size / batch_ms * 1000
        found.append(Batch(size=size, pictures_per_s=rate, batch_ms=batch_ms, peak_rss=peak))
    return found


def measure_resolutions(
    entry: Entry, ask: Ask, sizes: Sequence[tuple[int, int]], tell: Tell
) -> list[Resolution]:
    """Time and memory by the size of the picture: (height, width)."""
    found: list[Resolution] = []
    for height, width in sizes:
        tell(f"{entry.name}: {width}×{height}")
        try:
            drawn, peak = _calls(entry, replace(ask, height=height, width=width))
        except LatedgeError as e:
            found.append(Resolution(height=height, width=width, error=str(e)))
            continue
        found.append(
            Resolution(
                height=height,
                width=width,
                unet_call_ms=_median(drawn, UNET_CALL),
                vae_decoder_ms=_median(drawn, VAE_DECODER),
                picture_ms=_median(drawn, PICTURE),
                peak_rss=peak,
            )
        )
    return found


def _calls(entry: Entry, ask: Ask) -> tuple[list[Drawn], int]:
    """Draws in a new process; gives what was timed, and the peak while drawing, loading aside."""
    with Worker(entry.program) as worker:
        worker.open()
        drawn, peak = _peak_while(worker, lambda: [worker.draw(ask) for _ in range(1 + CALLS)])
    return drawn[1:], peak


def _peak_while(worker: Worker, work: Callable[[], T]) -> tuple[T, int]:
    """Does something with a worker; gives its result, and the peak of the worker's memory."""
    sampler = sampler_of(worker)
    sampler.start()
    try:
        result = work()
    finally:
        found = sampler.stop()
    return result, found.peak_rss


def _median(drawn: Sequence[Drawn], stage: str) -> float | None:
    values = [value for each in drawn for value in each.stages.get(stage, ())]
    return statistics.median(values) if values else None
