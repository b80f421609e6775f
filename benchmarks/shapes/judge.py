"""Reads a picture by plain image analysis and holds what it shows against what was asked for.

The object's outline is the line where the colour is half way between background and object, its
shape the template that its coverage agrees with best: neither blur nor a drift in colour, as a
diffusion model's decoder leaves them, moves either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.shapes.generator import (
    BACKGROUNDS,
    COLOURS,
    GRID,
    PICTURE_SIZE,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    SUPERSAMPLING,
    Picture,
    Scene,
    Thing,
    outline,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; the last two are outside."""

# RGB distance from the background that no object of the generator is below (purple on gray: 96).
OBJECT_DISTANCE = 40.0
# RGB distance within which a colour still counts as the one it is nearest to.
COLOUR_TOLERANCE = 75.0
# In pixels; the smallest object of the generator (a triangle of 14) covers 98.
LEAST_AREA = 24
# Intersection over union with the best template below which a blob has no shape.
LEAST_OVERLAP = 0.7
# Half way between the largest small and the smallest large object, and what is neither.
SIZE_LIMIT = (SIZES["small"][1] + SIZES["large"][0]) / 2
SIZE_RANGE = (SIZES["small"][0] - 3, SIZES["large"][1] + 3)


@dataclass(frozen=True)
class Reading:
    """What a picture shows; a word is empty where nothing known fits.

    Attributes:
        background: A key of `BACKGROUNDS`, or empty.
        things: All objects, with places and sizes as measured.
    """

    background: str
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Verdict:
    """Which attributes a picture has right; of a pair, both objects must have them right.

    Attributes:
        count: The number of objects.
        shape: All shapes.
        colour: All colours.
        size: All sizes.
        place: The place of a single object, the relation of a pair.
        background: The background's colour.
    """

    count: bool
    shape: bool
    colour: bool
    size: bool
    place: bool
    background: bool

    @property
    def all(self) -> bool:
        """Everything is right."""
        right = (self.count, self.shape, self.colour, self.size, self.place, self.background)
        return all(right)


def judge(picture: Picture, wanted: Scene) -> Verdict:
    """Holds a picture against the scene that was asked for.

    Args:
        picture: uint8, shape (64, 64, 3), RGB.
        wanted: A scene of the generator, or `captions.parse` of a prompt.

    Raises:
        ValueError: The picture has another dtype or shape.
    """
    return compare_reading(read(picture), wanted)


def read(picture: Picture) -> Reading:
    """Finds the background and all objects of a picture.

    Args:
        picture: uint8, shape (64, 64, 3), RGB.

    Raises:
        ValueError: The picture has another dtype or shape.
    """
    expected = (PICTURE_SIZE, PICTURE_SIZE, 3)
    if picture.dtype != np.uint8 or picture.shape != expected:
        raise ValueError(
            f"a picture is uint8 of shape {expected}; given: {picture.dtype} of {picture.shape}"
        )
    pixels = picture.astype(np.float64)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    background = np.median(border, axis=0)
    distance = np.linalg.norm(pixels - background, axis=-1)
    blobs = [blob for blob in components(distance > OBJECT_DISTANCE) if blob.sum() >= LEAST_AREA]
    things = tuple(_read_thing(pixels, background, blob) for blob in blobs)
    return Reading(_nearest(background, BACKGROUNDS), things)


def compare_reading(reading: Reading, wanted: Scene) -> Verdict:
    """Holds what a picture shows against the scene that was asked for.

    A pair's objects are matched the way that makes most right, so that one wrong word is one fault.
    """
    background = reading.background == wanted.background
    if len(reading.things) != len(wanted.things):
        return Verdict(False, False, False, False, False, background)
    orders = {reading.things, reading.things[::-1]}
    verdicts = [_matched(things, wanted, background) for things in sorted(orders, key=repr)]
    return max(verdicts, key=_rightness)


def components(mask: Bools) -> list[Bools]:
    """Splits a mask into its connected parts (by edges, not corners), in reading order."""
    left = mask.copy()
    parts: list[Bools] = []
    while left.any():
        part = np.zeros_like(mask)
        part.flat[int(left.argmax())] = True
        size = 0
        while part.sum() > size:
            size = part.sum()
            part = _grown(part) & mask
        parts.append(part)
        left &= ~part
    return parts


def _matched(things: tuple[Thing, ...], wanted: Scene, background: bool) -> Verdict:
    both = tuple(zip(things, wanted.things, strict=True))
    return Verdict(
        count=True,
        shape=all(seen.shape == asked.shape for seen, asked in both),
        colour=all(seen.colour == asked.colour for seen, asked in both),
        size=all(seen.size == asked.size for seen, asked in both),
        place=_place_holds(things, wanted),
        background=background,
    )


def _rightness(verdict: Verdict) -> tuple[int, bool]:
    return verdict.shape + verdict.colour + verdict.size + verdict.place, verdict.place


def _place_holds(things: tuple[Thing, ...], wanted: Scene) -> bool:
    if wanted.relation is None:
        seen = tuple(int(np.abs(np.array(GRID) - c).argmin()) for c in (things[0].x, things[0].y))
        return PLACES[wanted.place or ""] == seen
    dx, dy = RELATIONS[wanted.relation]
    x, y = things[0].x - things[1].x, things[0].y - things[1].y
    along, across = (x * dx, y) if dx else (y * dy, x)
    return along > abs(across)


def _read_thing(pixels: Floats, background: Floats, blob: Bools) -> Thing:
    core = blob & ~_grown(~blob)
    colour = np.median(pixels[core if core.any() else blob], axis=0)
    towards = colour - background
    coverage = np.clip((pixels - background) @ towards / (towards @ towards), 0, 1)
    coverage = np.where(_grown(blob), coverage, 0.0)
    left, top, right, bottom = _box(coverage, 0.5)
    # The longest row and column, in fractions of pixels.
    diameter = float(coverage.sum(1).max() + coverage.sum(0).max()) / 2
    shape = _read_shape(coverage)
    name = "small" if diameter <= SIZE_LIMIT else "large"
    size = name if SIZE_RANGE[0] <= diameter <= SIZE_RANGE[1] else ""
    centre = (left + right) / 2, (top + bottom) / 2
    return Thing(shape, _nearest(colour, COLOURS), size, diameter, *centre)


def _box(coverage: Floats, level: float) -> Box:
    rows, columns = np.nonzero(coverage >= level)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _read_shape(coverage: Floats) -> str:
    # Blur eats a triangle's tip and corners: they are in the second box.
    boxes = [_box(coverage, level) for level in (0.5, 0.25)]
    overlaps = {shape: max(_fit(coverage, shape, box) for box in boxes) for shape in SHAPES}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best if overlaps[best] >= LEAST_OVERLAP else ""


def _fit(coverage: Floats, shape: str, box: Box) -> float:
    """Overlap with a shape that fills a box."""
    left, top, right, bottom = box
    # A pixel more on each side, for what lies outside the box.
    window = np.pad(coverage, 1)[top : bottom + 2, left : right + 2]
    return _overlap(window, _template(shape, right - left, bottom - top))


def _overlap(a: Floats, b: Floats) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def _template(shape: str, width: int, height: int) -> Floats:
    """Coverage of a shape that fills width × height pixels, with one pixel around."""
    u = (np.arange((width + 2) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 1
    v = (np.arange((height + 2) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 1
    inside = outline(shape, 2 * u[None, :] / width - 1, 2 * v[:, None] / height - 1)
    blocks = inside.reshape(height + 2, SUPERSAMPLING, width + 2, SUPERSAMPLING)
    return blocks.astype(np.float64).mean((1, 3))


def _nearest(colour: Floats, names: dict[str, tuple[int, int, int]]) -> str:
    distances = {name: float(np.linalg.norm(colour - rgb)) for name, rgb in names.items()}
    best = min(distances, key=lambda name: distances[name])
    return best if distances[best] <= COLOUR_TOLERANCE else ""


def _grown(mask: Bools) -> Bools:
    """Adds to a mask the pixels beside it, left, right, above and below."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
