"""Quality: the figures, and the pictures side by side with what differs between them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.results import Picture, Quality, Report, ResultError, Subject
from benchmarks.report.formats import ABSENT, datum, fixed, words
from benchmarks.report.headline import interval, psnr, ssim
from benchmarks.report.markup import Html, element, join, short, text
from benchmarks.report.names import class_title
from benchmarks.report.section import Section
from benchmarks.report.tables import table

GAIN = 10
"""Times which a difference is shown."""

SMALL = 160
"""Pictures narrower than this many pixels are drawn with their pixels as squares."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Column:
    """The pictures of one subject, or those of the reference."""

    name: str
    pictures: Sequence[Picture]


def quality(report: Report) -> Section | None:
    """How the pictures are; None where none was kept or judged.

    Raises:
        ResultError: a picture of the result can't be read.
    """
    judged = [(s, s.quality) for s in report.subjects if s.quality is not None]
    rated = [(subject, found) for subject, found in judged if _rated(found)]
    parts: list[Html] = [_figures(rated)] if rated else []
    parts += [_prompt(report, i) for i in range(_count(report))]
    return Section("quality", "Quality", join(parts)) if parts else None


def _rated(found: Quality) -> bool:
    figures = (found.psnr_db, found.ssim, found.clip_score)
    return found.equal or bool(found.accuracy) or any(value is not None for value in figures)


def _figures(rows: Sequence[tuple[Subject, Quality]]) -> Html:
    classes = list(dict.fromkeys(name for _, found in rows for name in found.accuracy))
    head = ["Subject", "reference", "PSNR, dB, median", "least", "SSIM, median", "least"]
    head += [class_title(name) for name in classes]
    head += ["CLIP score", "CLIP model"]
    body = [_row(subject, found, classes) for subject, found in rows]
    return table("Quality of the pictures", head, body)


def _row(subject: Subject, found: Quality, classes: Sequence[str]) -> list[str]:
    return [
        text(subject.name),
        words(found.reference),
        psnr(subject),
        fixed(found.psnr_db_min, 1),
        ssim(subject),
        fixed(found.ssim_min, 4),
        *(_accuracy(found, name) for name in classes),
        datum(found.clip_score),
        words(found.clip_model),
    ]


def _accuracy(found: Quality, name: str) -> Html:
    share = found.accuracy.get(name)
    if share is None:
        return ABSENT
    shown = f"{interval(share.estimate, share.low, share.high)} of {share.n}"
    return datum(share.estimate, shown)


def _columns(report: Report) -> list[Column]:
    """Who has pictures: the reference first."""
    reference = [Column("Reference", report.reference_pictures)]
    subjects = [Column(s.name, s.quality.pictures) for s in report.subjects if s.quality]
    return [column for column in (*reference, *subjects) if column.pictures]


def _count(report: Report) -> int:
    return max((len(column.pictures) for column in _columns(report)), default=0)


def _prompt(report: Report, number: int) -> Html:
    """One prompt's pictures in a row that scrolls."""
    drawn = [(c.name, c.pictures[number]) for c in _columns(report) if number < len(c.pictures)]
    reference = drawn[0][1] if report.reference_pictures[number:] else None
    against = None if reference is None else _pixels(reference, "the reference")
    cards = [
        _card(name, picture, against if picture is not reference else None)
        for name, picture in drawn
    ]
    first = drawn[0][1]
    title = element("h3", text(first.prompt), element("small", f" seed {first.seed}"))
    row = element("div", *cards, class_="pictures", tabindex=0, role="group", aria_label="Pictures")
    return element("div", title, row, class_="prompt")


def _card(name: str, picture: Picture, reference: Pixels | None) -> Html:
    found = _pixels(picture, name)
    shown = _image(picture.png, found, f"{short(name, 60)}: {short(picture.prompt, 200)}")
    difference = [] if reference is None else _differing(name, found, reference)
    return element("figure", shown, element("figcaption", text(name)), *difference)


def _differing(name: str, found: Pixels, reference: Pixels) -> list[Html]:
    if found.shape != reference.shape:
        return [element("p", "Of another size than the reference.", class_="note")]
    difference = np.abs(found.astype(np.int16) - reference)
    amplified = np.minimum(difference * GAIN, 255).astype(np.uint8)
    most = int(difference.max(initial=0))
    told = f"|difference| ×{GAIN}; at most {most} of 255" if most else "no difference in 8 bits"
    alternative = f"{short(name, 60)}: difference from the reference, ×{GAIN}"
    image = _image(_png(amplified), amplified, alternative)
    return [image, element("p", told, class_="note")]


def _image(png: bytes, pixels: Pixels, alternative: str) -> Html:
    height, width = pixels.shape[:2]
    return element(
        "img",
        src=f"data:image/png;base64,{base64.b64encode(png).decode()}",
        alt=alternative,
        width=width,
        height=height,
        class_="pixels" if width < SMALL else None,
    )


def _pixels(picture: Picture, owner: str) -> Pixels:
    """A picture's values: uint8 [H, W, 3]."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.png), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise ResultError(
            f"a picture of {owner[:60]!r} in the result can't be read as PNG; measure again."
        ) from e


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
