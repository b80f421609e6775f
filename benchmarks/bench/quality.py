"""How good a subject's pictures are: PSNR, SSIM, accuracy of its prompts, CLIP score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np

from benchmarks.bench.clip_score import ClipScorer
from benchmarks.bench.reference import NO_REFERENCE, Ask, Floats, Reference
from benchmarks.bench.results import Picture, Quality
from benchmarks.bench.shapes_accuracy import Paint, shapes_accuracy
from runtimes.errors import UsageError
from runtimes.pictures import png_bytes, to_pillow

KEPT_PICTURES = 4
"""How many pictures a result holds for the report."""

_SIGMA = 1.5
_WINDOW = 11
"""Wang et al.'s Gaussian window: its deviation, and its side in pixels."""

NO_SSIM = 'no SSIM: scikit-image is not installed: pip install "latedge[bench]".'


@dataclass(frozen=True)
class Comparison:
    """Pictures beside the reference's.

    Attributes:
        psnr_db: of each; None where it equals the reference's.
        ssim: of each; empty where scikit-image is not installed.
    """

    psnr_db: tuple[float | None, ...]
    ssim: tuple[float, ...]

    @property
    def equal(self) -> bool:
        """Whether all pictures equal the reference's, value by value."""
        return all(found is None for found in self.psnr_db)


def psnr_db(picture: Floats, reference: Floats) -> float | None:
    """Peak signal-to-noise ratio in dB, peak 1, in float64; None where the two are equal.

    Raises:
        UsageError: they are of different sizes.
    """
    _check_sizes(picture, reference)
    error = float(np.mean((picture.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return None if error == 0 else -10 * math.log10(error)


def ssim(picture: Floats, reference: Floats) -> float:
    """Structural similarity, the mean over colours and places; 1 where the two are equal.

    With the settings of Wang et al., "Image quality assessment: from error visibility to structural
    similarity" (2004): Gaussian window of deviation 1.5, K1 0.01, K2 0.03, covariance of the
    population. What lies nearer to the border than half a window is left out of the mean; in a
    picture smaller than the window less is.

    Raises:
        UsageError: the two are of different sizes.
    """
    from skimage.metrics import structural_similarity

    _check_sizes(picture, reference)
    side = min(*picture.shape[:2], _WINDOW)
    compare_structure: Any = structural_similarity
    return float(
        compare_structure(
            reference.astype(np.float64),
            picture.astype(np.float64),
            win_size=side - (side + 1) % 2,
            gaussian_weights=True,
            sigma=_SIGMA,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
        )
    )


def compare(pictures: Sequence[Floats], reference: Sequence[Floats]) -> Comparison:
    """Compares pictures with the reference's of the same prompts and seeds.

    Raises:
        UsageError: there is not one for each, or two are of different sizes.
    """
    if len(pictures) != len(reference):
        raise UsageError(
            f"{len(pictures)} pictures can't be compared with {len(reference)} reference pictures."
        )
    pairs = list(zip(pictures, reference, strict=True))
    has_ssim = find_spec("skimage") is not None
    return Comparison(
        psnr_db=tuple(psnr_db(*pair) for pair in pairs),
        ssim=tuple(ssim(*pair) for pair in pairs) if has_ssim else (),
    )


def measure_quality(
    paint: Paint,
    prompts: Sequence[Ask],
    reference: Reference | None,
    *,
    missing: str = NO_REFERENCE,
    clip: ClipScorer | None = None,
    shapes_prompts: int = 0,
) -> Quality:
    """Draws and judges a subject's pictures.

    Args:
        paint: draws one picture of the subject.
        prompts: the pictures that are compared with the reference's and scored by CLIP.
        reference: the pictures of the same prompts and seeds; None compares nothing.
        missing: why there is no reference, for the notes.
        clip: scores pictures by their prompts; None scores nothing.
        shapes_prompts: prompts a class for the accuracy of the shapes model; 0 judges nothing.
            `benchmarks.bench.shapes_accuracy.check_is_shapes` says beforehand whether it can be.

    Raises:
        UsageError: no prompts, or pictures of other sizes than the reference's or the judge's.
        EngineError: an engine failed.
    """
    if not prompts:
        raise UsageError("quality is measured on at least one prompt; given none.")
    pictures = [paint(ask.prompt, ask.seed) for ask in prompts]
    found = Quality(pictures=kept_pictures(prompts, pictures))
    if reference is None:
        found = msgspec.structs.replace(found, notes=(missing,))
    else:
        found = _with_comparison(found, reference.label, compare(pictures, reference.pictures))
    if clip is not None:
        scores = [clip.score(p, a.prompt) for p, a in zip(pictures, prompts, strict=True)]
        found = msgspec.structs.replace(
            found, clip_score=statistics.fmean(scores), clip_model=str(clip.folder)
        )
    if shapes_prompts:
        found = msgspec.structs.replace(found, accuracy=shapes_accuracy(paint, shapes_prompts))
    return found


def kept_pictures(prompts: Sequence[Ask], pictures: Sequence[Floats]) -> tuple[Picture, ...]:
    """The first pictures as a result keeps them, the reference's too."""
    return tuple(
        Picture(prompt=ask.prompt, seed=ask.seed, png=png_bytes(to_pillow(picture[None])[0], {}))
        for ask, picture in list(zip(prompts, pictures, strict=True))[:KEPT_PICTURES]
    )


def _with_comparison(quality: Quality, label: str, found: Comparison) -> Quality:
    differing = [value for value in found.psnr_db if value is not None]
    return msgspec.structs.replace(
        quality,
        reference=label,
        # An equal picture has no finite PSNR: the median is that of the others.
        psnr_db=statistics.median(differing) if differing else None,
        psnr_db_min=min(differing, default=None),
        ssim=statistics.median(found.ssim) if found.ssim else None,
        ssim_min=min(found.ssim, default=None),
        equal=found.equal,
        notes=(*quality.notes, *(() if found.ssim else (NO_SSIM,))),
    )


def _check_sizes(picture: Floats, reference: Floats) -> None:
    if picture.shape != reference.shape:
        sizes = ["×".join(map(str, found.shape[:2])) for found in (picture, reference)]
        raise UsageError(
            f"a picture of {sizes[0]} can't be compared with a reference of {sizes[1]}; draw both "
            "at one size."
        )
