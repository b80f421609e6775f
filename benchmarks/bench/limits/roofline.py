"""Each component's call beside the machine's own peaks.

S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual performance model for
multicore architectures", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bench.limits.costliest import costliest
from benchmarks.bench.limits.count import Count, count
from benchmarks.bench.limits.feeds import Calls, picture_calls
from benchmarks.bench.results import (
    TEXT_ENCODER,
    UNET_CALL,
    VAE_DECODER,
    ComponentLimit,
    NodeCost,
    Peaks,
    Settings,
    Stage,
)
from runtimes.bundle import Bundle
from runtimes.errors import LatedgeError

STAGE_OF = {"text_encoder": TEXT_ENCODER, "unet": UNET_CALL, "vae_decoder": VAE_DECODER}
"""Component → the stage that times it."""

PROFILED_CALLS = 3
"""And one before them: a U-Net of true size takes ten seconds a call on a small machine."""


def limits(
    bundle: Bundle,
    settings: Settings,
    stages: Mapping[str, Stage],
    peaks: Peaks | None,
    *,
    device: str,
    threads: int | None,
    profile: bool,
) -> tuple[ComponentLimit, ...]:
    """What each component's call could take at best.

    Args:
        bundle: as it was measured.
        settings: of the measured picture; they decide what each call is fed.
        stages: measured, by name of `benchmarks.bench.results.STAGES`; those that are missing
            leave `time_ms` and `share` None.
        peaks: the machine's; None leaves the roofline None.
        device: where `profile` shall run, as the engine names it.
        threads: within an operation; None leaves it to the engine.
        profile: whether the costliest nodes are looked for, for which each component is loaded in
            this process and called 4 times.

    Returns:
        One per component, in the order of a picture. What can't be had is None and told in `note`.

    Raises:
        UsageError: the bundle can't make such a picture.
        BundleError: the bundle can't make pictures from text.
        CountError: nobody tells the width of the text embeddings.
    """
    place = _Place(device, threads) if profile else None
    return tuple(
        _limit(bundle, name, calls, stages.get(STAGE_OF[name]), peaks, place)
        for name, calls in picture_calls(bundle, settings).items()
    )


@dataclass(frozen=True)
class _Place:
    """Where nodes are timed."""

    device: str
    threads: int | None


def _limit(
    bundle: Bundle,
    component: str,
    calls: Calls,
    stage: Stage | None,
    peaks: Peaks | None,
    place: _Place | None,
) -> ComponentLimit:
    counted, count_note = _counted(bundle, component, calls)
    nodes, profile_note = _costliest(bundle, component, calls, place)
    compute_ms, memory_ms = _peak_ms(counted, peaks)
    bounds = [bound for bound in (compute_ms, memory_ms) if bound is not None]
    roofline_ms = max(bounds, default=None)
    time_ms = None if stage is None else stage.summary.p50 / calls.per_sample
    notes = [note for note in (_calls_note(calls), count_note, profile_note) if note]
    return ComponentLimit(
        component=component,
        feeds=calls.shapes,
        flops=counted.flops if counted else None,
        bytes=counted.bytes if counted else None,
        bytes_by_node=counted.bytes_by_node if counted else None,
        by_kind=counted.by_kind if counted else (),
        time_ms=time_ms,
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        roofline_ms=roofline_ms,
        share=roofline_ms / time_ms if roofline_ms is not None and time_ms else None,
        costliest=nodes,
        note="; ".join(notes) or None,
    )


def _counted(bundle: Bundle, component: str, calls: Calls) -> tuple[Count | None, str | None]:
    try:
        found = count(bundle.path / bundle.graph(component).file, calls.shapes)
    except LatedgeError as e:
        return None, f"not counted: {_clause(e)}"
    return found, found.note


def _costliest(
    bundle: Bundle, component: str, calls: Calls, place: _Place | None
) -> tuple[tuple[NodeCost, ...], str | None]:
    if place is None:
        return (), None
    try:
        found = costliest(
            bundle, component, calls.feeds, place.device, place.threads, PROFILED_CALLS
        )
    except LatedgeError as e:
        return (), f"no costliest nodes: {_clause(e)}"
    return found, None


def _clause(error: LatedgeError) -> str:
    """A message as a part of a note."""
    return str(error).removesuffix(".")


def _peak_ms(counted: Count | None, peaks: Peaks | None) -> tuple[float | None, float | None]:
    if counted is None or peaks is None:
        return None, None
    return (
        counted.flops / peaks.flops_per_s * 1000,
        counted.bytes / peaks.bytes_per_s * 1000,
    )


def _calls_note(calls: Calls) -> str | None:
    """The stage's time is shared out among its calls."""
    if calls.per_sample == 1:
        return None
    return f"the measured stage makes {calls.per_sample} calls; the figures are of one"
