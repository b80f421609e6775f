"""The figures of a verification: how far outputs are from torch's, and what is asked of them."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
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

_AT_ONCE = 2**20

THRESHOLDS_DB: dict[str, float] = {"fp32": 80.0, "fp16": 45.0, "bf16": 35.0}
"""PSNR that a component must reach, by the precision of its arithmetic or of rounded weights.

Peak is the reference's largest magnitude. Reordered float32 sums over networks of this depth give
100 dB and more; a wrong weight or a lost activation gives below 40. Rounding weights to fp16 has
11 bits a weight, 66 dB each, of which a deep network keeps 50 to 60. Of weights that are
compressed less is asked: `exporter.compressed_thresholds`.
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


class LayersReport(msgspec.Struct, frozen=True, kw_only=True):
    """Parity of one component's layers, each on torch's own input, for one call.

    Attributes:
        layers: figures of each layer's worst output, by the path of its module, in torch's order.
        worst: the layer that is furthest from torch.
        limit_db: what every layer must reach.
        departing: layers that miss it.
        program: of the outputs of torch's captured program, which the layers are compared with,
            against the network's own.
        sizes: shapes of what the component was called with.
        seconds: that the comparison took.
        passed: whether all layers and the program agree.
    """

    layers: dict[str, Comparison]
    worst: str
    limit_db: float
    departing: tuple[str, ...]
    program: dict[str, Comparison]
    sizes: dict[str, tuple[int, ...]]
    seconds: float
    passed: bool

    def __str__(self) -> str:
        """One line for people."""
        found = self.layers[self.worst]
        reached = "equal" if found.psnr_db is None else f"{found.psnr_db:.1f} dB"
        bad = len(self.departing)
        kept = "all reach" if not bad else f"{bad} miss"
        return (
            f"{len(self.layers)} layers, {kept} {self.limit_db:g} dB; worst is {self.worst}, "
            f"{reached}, max abs {found.max_abs:.3g} of {found.peak:.3g}"
        )


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
        layers: where the component was compared a layer at a time; outputs are then each of its
            own layer, on torch's own input.
    """

    samples: int
    threshold_db: float
    outputs: dict[str, Comparison]
    passed: bool
    seconds_reference: float
    seconds_engine: float
    departure: Departure | None = None
    layers: LayersReport | None = None


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
            if result.layers is not None:
                raise VerificationError(f"{name} departs from torch: {result.layers}.{where}")
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
    parts = [part for reference, output in pairs for part in _parts(reference, output)]
    sums = np.sum([part.sums for part in parts], axis=0)
    count, error, dot, squares, found_squares, bad, reference_bad = sums.tolist()
    peak = max((part.peak for part in parts), default=0.0)
    norm = math.sqrt(squares) * math.sqrt(found_squares)
    return Comparison(
        max_abs=max((part.max_abs for part in parts), default=0.0),
        peak=peak,
        psnr_db=_psnr_db(peak, error / count if count else math.inf),
        cosine=dot / norm if norm else float(squares == found_squares),
        non_finite=int(bad),
        reference_non_finite=int(reference_bad),
    )


@dataclass(frozen=True)
class _Part:
    """Of some values: their count, sums of squared error, product, squares; NaN or Inf in each."""

    sums: tuple[float, ...]
    peak: float
    max_abs: float


def _parts(reference: Array, output: Array) -> Iterator[_Part]:
    """Figures of a million values at a time: their float64 copies would be four times an array."""
    ours, theirs = np.ravel(reference), np.ravel(output)
    for start in range(0, max(len(ours), 1), _AT_ONCE):
        a = ours[start : start + _AT_ONCE].astype(np.float64)
        b = theirs[start : start + _AT_ONCE].astype(np.float64)
        finite_a, finite_b = np.isfinite(a), np.isfinite(b)
        bad, reference_bad = len(b) - finite_b.sum(), len(a) - finite_a.sum()
        if bad or reference_bad:
            a, b = a[finite_a & finite_b], b[finite_a & finite_b]
        difference = a - b
        sums = (len(a), difference @ difference, a @ b, a @ a, b @ b, bad, reference_bad)
        yield _Part(
            tuple(map(float, sums)),
            float(np.abs(a).max(initial=0.0)),
            float(np.abs(difference).max(initial=0.0)),
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
