"""The columns of the table that has one line a subject, and how figures are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.bench.results import (
    COLD_LOAD,
    FIRST_CALL,
    LOAD,
    PICTURE,
    SAMPLER,
    STAGES,
    TEXT_ENCODER,
    UNET_CALL,
    VAE_DECODER,
    Stage,
    Subject,
)

ABSENT = "–"
STATISTICS = ("n", "min", "p50", "p90", "p95", "p99", "max", "spread")


@dataclass(frozen=True)
class Column:
    """A column of the table that has one line a subject.

    Attributes:
        title: with its unit.
        cell: what it shows; `ABSENT` for what wasn't measured.
    """

    title: str
    cell: Callable[[Subject], str]


def milliseconds(value: float | None) -> str:
    """Three figures and a unit that suits them."""
    if value is None:
        return ABSENT
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} ms"


def size(value: int | None) -> str:
    """Bytes in MB or GB of powers of ten."""
    if value is None:
        return ABSENT
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"


def in_order(stages: Mapping[str, Stage]) -> list[tuple[str, Stage]]:
    """The stages that there are, in the order of `STAGES`."""
    return [(name, stages[name]) for name in STAGES if name in stages]


def _median(stage: str) -> Callable[[Subject], str]:
    return lambda subject: _of_stage(subject, stage, lambda found: found.summary.p50)


def _p95(stage: str) -> Callable[[Subject], str]:
    return lambda subject: _of_stage(subject, stage, lambda found: found.summary.p95)


def _of_stage(subject: Subject, stage: str, value: Callable[[Stage], float]) -> str:
    found = subject.stages.get(stage)
    return ABSENT if found is None else milliseconds(value(found))


def _psnr(subject: Subject) -> str:
    quality = subject.quality
    if quality is None or quality.reference is None:
        return ABSENT
    if quality.equal:
        return "equal"
    return ABSENT if quality.psnr_db is None else f"{quality.psnr_db:.1f} dB"


def _optional(get: Callable[[Subject], float | None], form: str) -> Callable[[Subject], str]:
    def cell(subject: Subject) -> str:
        value = get(subject)
        return ABSENT if value is None else form.format(value)

    return cell


def _accuracy(subject: Subject) -> str:
    if subject.quality is None or not subject.quality.accuracy:
        return ABSENT
    return ", ".join(
        f"{name} {100 * each.estimate:.0f} % ({100 * each.low:.0f}–{100 * each.high:.0f})"
        for name, each in subject.quality.accuracy.items()
    )


def _unet_share(subject: Subject) -> float | None:
    found = [each.share for each in subject.limits if each.component == "unet"]
    return None if not found or found[0] is None else 100 * found[0]


COLUMNS = (
    Column("subject", lambda s: s.name),
    Column("engine", lambda s: s.engine or ABSENT),
    Column("device", lambda s: s.device or ABSENT),
    Column("weights", lambda s: s.precision or ABSENT),
    Column("picture p50", _median(PICTURE)),
    Column("p95", _p95(PICTURE)),
    Column("U-Net call p50", _median(UNET_CALL)),
    Column("U-Net of roofline", _optional(_unet_share, "{:.0f} %")),
    Column("text encoder", _median(TEXT_ENCODER)),
    Column("VAE decoder", _median(VAE_DECODER)),
    Column("sampler", _median(SAMPLER)),
    Column("load", _median(LOAD)),
    Column("cold load", _median(COLD_LOAD)),
    Column("first call", _median(FIRST_CALL)),
    Column("peak RSS", lambda s: size(s.memory.peak_rss if s.memory else None)),
    Column("peak PSS", lambda s: size(s.memory.peak_pss if s.memory else None)),
    Column("device memory", lambda s: size(s.memory.device_peak if s.memory else None)),
    Column("on disk", lambda s: size(s.size_bytes)),
    Column("PSNR", _psnr),
    Column("SSIM", _optional(lambda s: s.quality.ssim if s.quality else None, "{:.4f}")),
    Column("prompts right", _accuracy),
    Column(
        "CLIP score", _optional(lambda s: s.quality.clip_score if s.quality else None, "{:.2f}")
    ),
    Column(
        "J a picture",
        _optional(lambda s: s.energy.joules_per_picture if s.energy else None, "{:.1f}"),
    ),
    Column("export", _optional(lambda s: s.build.seconds if s.build else None, "{:.0f} s")),
    Column("export peak RSS", lambda s: size(s.build.peak_rss if s.build else None)),
    Column("installed", lambda s: size(s.build.installed if s.build else None)),
    Column("error", lambda s: s.error or ABSENT),
)
"""Of the table with one line a subject; a column that no subject fills is left out."""
