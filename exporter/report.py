"""The figures of a verification: how far outputs are from torch's, and what is asked of them."""

from __future__ import annotations

import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.errors import VerificationError
from exporter.image_report import ImageReport, require_same_picture
from exporter.staged_files import VERIFICATION_NAME
from runtimes.version import VERSION

Array = NDArray[Any]

THRESHOLDS_DB: dict[str, float] = {"fp32": 80.0, "fp16": 45.0, "bf16": 35.0}
"""PSNR that a component must reach, by the precision of its arithmetic or of rounded weights.

Peak is the reference's largest magnitude. Reordered float32 sums over networks of this depth give
100 dB and more; a wrong weight or a lost activation gives below 40. Rounding weights to fp16 has
11 bits a weight, 66 dB each, of which a deep network keeps 50 to 60.
"""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How far an output is from torch's over all samples.

    Attributes:
        max_abs: largest absolute difference.
        peak: largest magnitude of the reference.
        psnr_db: against that peak; None where the two are equal.
        cosine: of the two as vectors.
        non_finite: NaN and Inf values in the output.
        reference_non_finite: those in the reference.
    """

    max_abs: float
    peak: float
    psnr_db: float | None
    cosine: float
    non_finite: int
    reference_non_finite: int


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """An array: its shape, the range of its finite values, and how many are NaN or infinite."""

    shape: tuple[int, ...]
    minimum: float | None
    maximum: float | None
    non_finite: int


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """The first node of a graph whose output departs from torch's.

    Attributes:
        node: its name: the path of the torch module and the operator.
        op: the operator, as the graph should have it.
        module: the path of the torch module that it comes from.
        weights: keys of the weights that it reads.
        found: the nodes that the graph has there, in order.
        where: "apart" where it departs when it is computed alone from torch's own values; "in
            place" where only the whole graph does, whose first such output it gives.
        reference: torch's output.
        output: the graph's.
        max_abs: largest absolute difference; None where the shapes differ.
        psnr_db: against the reference's largest magnitude; None where the shapes differ or all
            finite values are equal.
        limit_db: what it must reach.
        checked: how many values of the graph are compared with torch's.
    """

    node: str
    op: str
    module: str
    weights: tuple[str, ...]
    found: tuple[str, ...]
    where: str
    reference: Spread
    output: Spread
    max_abs: float | None
    psnr_db: float | None
    limit_db: float
    checked: int

    def __str__(self) -> str:
        """One line for people."""
        weights = f" with {', '.join(self.weights)}" if self.weights else ""
        return (
            f"{self.node} ({self.op}{weights}) is the first node that departs, {self.where}: torch "
            f"gives {_range(self.reference)}, the graph {_range(self.output)}; {self._error()}"
        )

    def _error(self) -> str:
        if self.max_abs is None:
            return f"shape {list(self.output.shape)} in place of {list(self.reference.shape)}"
        figure = "equal" if self.psnr_db is None else f"{self.psnr_db:.1f} dB"
        return f"max abs {self.max_abs:.3g}, {figure} where {self.limit_db:g} dB are asked for"


def _range(found: Spread) -> str:
    bad = f" and {found.non_finite} NaN or Inf" if found.non_finite else ""
    if found.minimum is None:
        return f"nothing finite{bad}"
    return f"{found.minimum:.4g} to {found.maximum:.4g}{bad}"


class ComponentReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parity of one component: figures by output, and whether all reach the threshold.

    Attributes:
        samples: calls that were compared.
        threshold_db: what every output must reach.
        outputs: figures by output, over all samples.
        passed: whether all outputs are finite and reach it.
        seconds_reference: that torch took.
        seconds_engine: that the engine took, loading included.
        departure: the first node that departs, where it was looked for and found.
    """

    samples: int
    threshold_db: float
    outputs: dict[str, Comparison]
    passed: bool
    seconds_reference: float
    seconds_engine: float
    departure: Departure | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parity of a bundle, with the versions and the machine it was measured on.

    Attributes:
        engine: that ran the graphs.
        components: by name.
        versions: of Python, latedge and the libraries.
        machine: system and processor.
        image: of a whole picture, where one was asked for.
    """

    engine: str
    components: dict[str, ComponentReport]
    versions: dict[str, str]
    machine: str
    image: ImageReport | None = None


def require_parity(report: Report) -> None:
    """Refuses a report in which a component or the whole picture misses its threshold.

    Raises:
        VerificationError: names the first such component and its worst output, or the first step
            of the picture that departs.
    """
    for name, result in report.components.items():
        if not result.passed:
            output, worst = worst_output(result)
            where = "" if result.departure is None else f" {result.departure}."
            raise VerificationError(
                f"{name} departs from torch: {output} has PSNR {worst.psnr_db or 0:.1f} dB where "
                f"{result.threshold_db:g} dB are asked for (max abs {worst.max_abs:.3g} of "
                f"{worst.peak:.3g}, {worst.non_finite} NaN or Inf).{where}"
            )
    if report.image is not None:
        require_same_picture(report.image)


def write_report(folder: Path, report: Report) -> None:
    """Writes `verification.json` beside the manifest."""
    raw = msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2)
    (folder / VERIFICATION_NAME).write_bytes(raw + b"\n")


def worst_output(result: ComponentReport) -> tuple[str, Comparison]:
    """The output that is furthest from the reference, by PSNR."""
    return min(
        result.outputs.items(),
        key=lambda item: np.inf if item[1].psnr_db is None else item[1].psnr_db,
    )


def compare(pairs: list[tuple[Array, Array]]) -> Comparison:
    """Compares outputs with their references, over all samples at once.

    Args:
        pairs: (reference, output), of the same shape each.
    """
    reference = np.concatenate([np.ravel(a) for a, _ in pairs]).astype(np.float64)
    output = np.concatenate([np.ravel(b) for _, b in pairs]).astype(np.float64)
    both = np.isfinite(reference) & np.isfinite(output)
    a, b = reference[both], output[both]
    peak = float(np.abs(a).max(initial=0.0))
    error = float(np.mean((a - b) ** 2)) if a.size else float("inf")
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Comparison(
        max_abs=float(np.abs(a - b).max(initial=0.0)),
        peak=peak,
        psnr_db=_psnr_db(peak, error),
        cosine=float(a @ b) / norm if norm else float(not a.any() and not b.any()),
        non_finite=int((~np.isfinite(output)).sum()),
        reference_non_finite=int((~np.isfinite(reference)).sum()),
    )


def _psnr_db(peak: float, error: float) -> float | None:
    if error == 0:
        return None
    return -math.inf if math.isinf(error) else 10 * math.log10(max(peak, 1e-30) ** 2 / error)


def passes(figures: Comparison, threshold_db: float) -> bool:
    """Whether all values are finite and the PSNR reaches the threshold."""
    finite = figures.non_finite == 0 and figures.reference_non_finite == 0
    return finite and (figures.psnr_db is None or figures.psnr_db >= threshold_db)


def tool_versions() -> dict[str, str]:
    """Versions of what a verification runs on."""
    found = {"python": platform.python_version(), "latedge": VERSION}
    for name in ("torch", "diffusers", "transformers", "onnxruntime", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The system and the processor, in words."""
    return f"{platform.system()} {platform.machine()}, {_processor()}"


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in told.splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
