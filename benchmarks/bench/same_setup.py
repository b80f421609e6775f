"""Whether two results can be compared: the same machine, models and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from benchmarks.bench.results import Machine, Plan, Report, Subject

MEMORY_TOLERANCE = 0.05
"""What a kernel reserves changes with its version, and with it what it calls installed."""

_SETTINGS = ("device", "threads")


def setup_differences(old: Report, new: Report) -> tuple[str, ...]:
    """What makes figures of two runs incomparable, a clause each; nothing where they are alike.

    What a comparison is about may differ: versions, engine, precision, the bundle itself. Where a
    run could not tell something, it is not held against the other.
    """
    found = [*_machine(old.machine, new.machine), *_plan(old.plan, new.plan)]
    before = {subject.name: subject for subject in old.subjects}
    for subject in new.subjects:
        if subject.name in before:
            found += _subject(before[subject.name], subject)
    return tuple(found)


def _machine(old: Machine, new: Machine) -> Iterator[str]:
    pairs = {
        "system": (_system(old), _system(new)),
        "processor": (old.processor, new.processor),
        "cores": (old.cores, new.cores),
        "devices": (list(old.devices), list(new.devices)),
        "power": (old.power, new.power),
        "governor": (old.governor, new.governor),
    }
    yield from _unequal("machine", pairs)
    if abs(new.memory_bytes / old.memory_bytes - 1) > MEMORY_TOLERANCE:
        yield f"machine: memory_bytes {old.memory_bytes} and {new.memory_bytes}"


def _system(machine: Machine) -> str:
    """System and architecture; a kernel's version changes by itself."""
    words = machine.system.split()
    return " ".join((words[0], words[-1])) if words else ""


def _plan(old: Plan, new: Plan) -> Iterator[str]:
    """A picture's time depends on what ran before it; how many there are, intervals account for."""
    names = ("warmup", "interleaved")
    yield from _unequal("plan", {name: (getattr(old, name), getattr(new, name)) for name in names})


def _subject(old: Subject, new: Subject) -> Iterator[str]:
    names = ("program", "model_sha256", *_SETTINGS)
    yield from _unequal(
        old.name, {name: (getattr(old, name), getattr(new, name)) for name in names}
    )
    if old.settings is not None and new.settings is not None:
        before, after = msgspec.structs.asdict(old.settings), msgspec.structs.asdict(new.settings)
        yield from _unequal(old.name, {name: (before[name], after[name]) for name in before})


def _unequal(where: str, pairs: Mapping[str, tuple[object, object]]) -> Iterator[str]:
    for name, (old, new) in pairs.items():
        told = old is not None and new is not None
        if old != new and (told or name == "threads"):
            yield f"{where}: {name} {old!r} and {new!r}"
