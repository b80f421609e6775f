"""`quantization.json`: the bits that were chosen for a component's weights, and why.

It lies beside the component's weights. The sensitivities in it were measured once; a compile takes
its weights' schemes from it, and another budget is chosen for without measuring again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from exporter.coreml.compress.activations import Activations
from exporter.coreml.compress.compression import Compression
from exporter.coreml.compress.mixed import HALF_BITS, Choice, choose
from exporter.coreml.compress.scheme import Kind, Scheme, palette, parse_scheme
from exporter.coreml.compress.sensitivity import Sensitivity
from runtimes.errors import BundleError, UsageError

QUANTIZATION_NAME = "quantization.json"
SCHEMA = "1.0"


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """How a component's weights are compressed, each in its own way.

    Attributes:
        schema: version of this file's form.
        component: the component's name.
        weights_sha256: of the weight file that it was measured on.
        scheme: "mixed-…", with the budget in bits a weight.
        schemes: key → scheme's name; None where the weight stays as it is.
        average_bits: what the weights take on average, tables included.
        predicted_psnr_db: of the outputs, from the sensitivities; None where nothing is lost.
        psnr_db: as it was measured with all weights compressed at once; None where it was not.
        samples: how many calls of the component each figure is over.
        sensitivities: key → what each width costs and gives.
    """

    schema: str = SCHEMA
    component: str
    weights_sha256: str
    scheme: str
    schemes: dict[str, str | None]
    average_bits: float
    predicted_psnr_db: float | None
    psnr_db: float | None = None
    samples: int
    sensitivities: dict[str, Sensitivity]

    @property
    def compression(self) -> Compression:
        """As the lowering takes it."""
        return Compression(parse_scheme(self.scheme), _recipe(self.schemes))


class RoundedReads(msgspec.Struct, frozen=True, kw_only=True):
    """What the layers of a component with W8A8 read.

    Attributes:
        schema: version of this file's form.
        component: the component's name.
        weights_sha256: of the weight file that it was measured on.
        scheme: "w8a8".
        activations: scales, and what each layer loses.
        samples: how many calls of the component each figure is over.
    """

    schema: str = SCHEMA
    component: str
    weights_sha256: str
    scheme: Literal["w8a8"] = "w8a8"
    activations: Activations
    samples: int


def quantization(
    component: str,
    weights_sha256: str,
    scheme: Scheme,
    sensitivities: dict[str, Sensitivity],
    *,
    samples: int,
) -> Quantization:
    """Chooses bits for a component's weights.

    Args:
        component: its name.
        weights_sha256: of the weight file that the sensitivities were measured on.
        scheme: a mixed one.
        sensitivities: as `measure_sensitivity` found them.
        samples: how many calls of the component they are over.

    Raises:
        UsageError: the budget is too small.
    """
    assert scheme.kind is Kind.MIXED, scheme
    chosen = choose(sensitivities, scheme.bits)
    return Quantization(
        component=component,
        weights_sha256=weights_sha256,
        scheme=scheme.name,
        schemes=_schemes(chosen),
        average_bits=chosen.average_bits,
        predicted_psnr_db=chosen.predicted_psnr_db,
        samples=samples,
        sensitivities=sensitivities,
    )


def write_quantization(path: Path, found: Quantization | RoundedReads) -> None:
    """Writes the file, weights in the order of their keys as they were measured."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def read_quantization(path: Path, *, weights_sha256: str) -> Quantization:
    """Reads the file and checks it.

    Args:
        path: the file.
        weights_sha256: of the weight file that it shall be applied to.

    Raises:
        BundleError: it can't be read, is of another schema or of other weights, or contradicts
            itself.
    """
    found = _read(path, Quantization, weights_sha256)
    _check(path, found)
    return found


def read_rounded_reads(path: Path, *, weights_sha256: str) -> RoundedReads:
    """Reads a file of W8A8; see `read_quantization`.

    Raises:
        BundleError: it can't be read, or is of another schema or of other weights.
    """
    return _read(path, RoundedReads, weights_sha256)


_Found = TypeVar("_Found", Quantization, RoundedReads)


def _read(path: Path, kind: type[_Found], weights_sha256: str) -> _Found:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    except msgspec.DecodeError as e:
        raise BundleError(f"{path} is not a recipe of compressed weights: {e}.") from e
    if found.schema.partition(".")[0] != SCHEMA.partition(".")[0]:
        raise BundleError(
            f"{path} has schema {found.schema}; read is {SCHEMA}. Measure it anew, or take the "
            "latedge that wrote it."
        )
    if found.weights_sha256 != weights_sha256:
        raise BundleError(
            f"{path} was measured on weights with SHA-256 {found.weights_sha256[:12]}…, those "
            f"here have {weights_sha256[:12]}…; measure it anew."
        )
    return found


def _check(path: Path, found: Quantization) -> None:
    """Whether what was chosen is what the file's own sensitivities and budget give."""
    try:
        scheme = parse_scheme(found.scheme)
        if scheme.kind is not Kind.MIXED:
            raise BundleError(f"{path}: scheme is {found.scheme}; it must be a mixed one.")
        chosen = choose(found.sensitivities, scheme.bits)
    except UsageError as e:
        raise BundleError(f"{path}: {e}") from e
    wanted = _schemes(chosen)
    for key in sorted(wanted.keys() | found.schemes.keys()):
        if wanted.get(key, "") != found.schemes.get(key, ""):
            raise BundleError(
                f"{path}: {key} has {found.schemes.get(key, 'no scheme')}, and its sensitivities "
                f"and {found.scheme} give {wanted.get(key, 'none')}; the file was altered. Measure "
                "it anew."
            )


def _schemes(chosen: Choice) -> dict[str, str | None]:
    return {
        key: None if bits == HALF_BITS else palette(bits).name for key, bits in chosen.bits.items()
    }


def _recipe(schemes: dict[str, str | None]) -> dict[str, Scheme | None]:
    return {key: None if name is None else parse_scheme(name) for key, name in schemes.items()}
