"""What is compared of a subject in two runs: times, bytes, and how good its pictures are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.bench.between_runs import Change, MachineChange, middle_ms, stage_change
from benchmarks.bench.ratios import outside_shares
from benchmarks.bench.results import STAGES, Proportion, Quality, Subject

MEMORY_NOISE = 0.02
"""By how much peaks of the same bundle differ between runs: threads race for what is free."""

INVISIBLE_DB = 58.92
"""PSNR of a picture whose only fault is that it was rounded to 8 bits: 10·log10(12·255²). What is
better counts as equal: beyond it, PSNR swings by many dB with the order of a sum."""


@dataclass(frozen=True)
class Figure:
    """A figure of a subject in both runs.

    Attributes:
        name: a stage of `STAGES`, or "peak_rss", "device_peak", "size_bytes", "psnr_db",
            "clip_score", "accuracy" with the class of prompts after a colon.
        unit: "ms", "bytes", "dB" or "".
        old: as measured; of times, the geometric mean of the sessions' medians.
        new: likewise.
        change: None where too little was measured to tell.
    """

    name: str
    unit: str
    old: float
    new: float
    change: Change | None


def changes(
    old: Subject, new: Subject, machine: MachineChange, outside: float
) -> tuple[Figure, ...]:
    """All figures that both runs have.

    Args:
        old: the subject in the old run.
        new: in the new one.
        machine: what the machine may have done in between.
        outside: probability outside the intervals of the times, all together.
    """
    found = [*_times(old, new, machine, outside), *_bytes(old, new)]
    if old.quality is not None and new.quality is not None:
        found += [*_likeness(old.quality, new.quality), *_scores(old.quality, new.quality)]
    return tuple(found)


def _times(old: Subject, new: Subject, machine: MachineChange, outside: float) -> Iterator[Figure]:
    shared = [name for name in STAGES if name in old.stages and name in new.stages]
    shares = outside_shares(shared, outside)
    for name in shared:
        before, after = old.stages[name], new.stages[name]
        change = stage_change(before, after, machine, shares[name])
        yield Figure(name, "ms", middle_ms(before), middle_ms(after), change)


def _bytes(old: Subject, new: Subject) -> Iterator[Figure]:
    before, after = _sizes(old), _sizes(new)
    for name, noise in {"peak_rss": MEMORY_NOISE, "device_peak": MEMORY_NOISE}.items():
        yield from _larger(name, before[name], after[name], noise)
    yield from _larger("size_bytes", before["size_bytes"], after["size_bytes"], 0.0)


def _sizes(subject: Subject) -> Mapping[str, int | None]:
    memory = subject.memory
    return {
        "peak_rss": memory.peak_rss if memory else None,
        "device_peak": memory.device_peak if memory else None,
        "size_bytes": subject.size_bytes,
    }


def _larger(name: str, old: int | None, new: int | None, noise: float) -> Iterator[Figure]:
    if old and new is not None:
        worse = new / old - 1
        yield Figure(name, "bytes", old, new, Change(worse, worse - noise, worse + noise))


def _likeness(old: Quality, new: Quality) -> Iterator[Figure]:
    """PSNR to the same reference: worse by the share by which the root mean square error grew.

    The same pictures are drawn from the same seeds, so there is no noise to allow for.
    """
    before, after = _psnr(old), _psnr(new)
    if old.reference is not None and old.reference == new.reference and before and after:
        worse = 10 ** ((before - after) / 20) - 1
        yield Figure("psnr_db", "dB", before, after, Change(worse, worse, worse))


def _psnr(quality: Quality) -> float | None:
    if quality.equal:
        return INVISIBLE_DB
    return None if quality.psnr_db is None else min(quality.psnr_db, INVISIBLE_DB)


def _scores(old: Quality, new: Quality) -> Iterator[Figure]:
    for name, before in old.accuracy.items():
        after = new.accuracy.get(name)
        if after is not None and before.estimate > 0:
            yield Figure(
                f"accuracy: {name}", "", before.estimate, after.estimate, _accuracy(before, after)
            )
    same = old.clip_model == new.clip_model
    if same and old.clip_score and new.clip_score is not None:
        worse = 1 - new.clip_score / old.clip_score
        yield Figure("clip_score", "", old.clip_score, new.clip_score, Change(worse, worse, worse))


def _accuracy(old: Proportion, new: Proportion) -> Change:
    """The drop of an accuracy as a share of the old one.

    The interval of the difference is made of both intervals (Newcombe 1998, "Interval estimation
    for the difference between independent proportions", method 10); that the prompts are the same
    could only make it narrower.
    """
    drop = old.estimate - new.estimate
    below = math.hypot(old.estimate - old.low, new.high - new.estimate)
    above = math.hypot(old.high - old.estimate, new.estimate - new.low)
    return Change(*(each / old.estimate for each in (drop, drop - below, drop + above)))
