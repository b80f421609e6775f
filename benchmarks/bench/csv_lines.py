"""A report as CSV: one line a subject."""

from __future__ import annotations

import csv
import io

from benchmarks.bench.columns import STATISTICS, in_order
from benchmarks.bench.results import Report, Subject


def as_csv(report: Report) -> str:
    """One line a subject, each figure in a column of its own, empty where absent."""
    rows = [_flat(each) for each in report.subjects]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _flat(subject: Subject) -> dict[str, object]:
    """Every figure of a row by name."""
    quality, memory, build = subject.quality, subject.memory, subject.build
    found: dict[str, object] = {
        "name": subject.name,
        "program": subject.program,
        "path": subject.path,
        "engine": subject.engine,
        "device": subject.device,
        "precision": subject.precision,
        "threads": subject.threads,
        "size_bytes": subject.size_bytes,
        "error": subject.error,
    }
    for name, stage in in_order(subject.stages):
        for key in STATISTICS:
            unit = "" if key in ("n", "spread") else "_ms"
            found[f"{name}_{key}{unit}"] = getattr(stage.summary, key)
    if memory is not None:
        found |= {
            "peak_rss_bytes": memory.peak_rss,
            "peak_pss_bytes": memory.peak_pss,
            "loaded_rss_bytes": memory.loaded_rss,
            "device_peak_bytes": memory.device_peak,
        }
    if quality is not None:
        found |= {
            "reference": quality.reference,
            "equal": quality.equal,
            "psnr_db": quality.psnr_db,
            "psnr_min_db": quality.psnr_db_min,
            "ssim": quality.ssim,
            "ssim_min": quality.ssim_min,
            "clip_score": quality.clip_score,
        }
        found |= {f"accuracy_{name}": each.estimate for name, each in quality.accuracy.items()}
    for limit in subject.limits:
        found |= {
            f"{limit.component}_flops": limit.flops,
            f"{limit.component}_bytes": limit.bytes,
            f"{limit.component}_roofline_share": limit.share,
        }
    if subject.energy is not None:
        found["joules_per_picture"] = subject.energy.joules_per_picture
    if build is not None:
        found |= {
            "export_s": build.seconds,
            "export_peak_rss_bytes": build.peak_rss,
            "installed_bytes": build.installed,
        }
    for batch in subject.batches:
        found[f"pictures_per_s_at_{batch.size}"] = batch.pictures_per_s
    for each in subject.resolutions:
        found[f"picture_ms_{each.width}x{each.height}"] = each.picture_ms
    return found
