"""Draws the pictures that the shapes model is trained on: one or two objects on a plain background.

A scene is drawn at random from a seed and its picture follows from the scene alone, so the same
seed gives the same bytes everywhere. Only `random.Random.random` is used, the one stream that
Python promises to keep between versions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SceneClass = Literal["single", "pair"]
Picture = NDArray[np.uint8]

CLASSES: tuple[SceneClass, ...] = ("single", "pair")
PICTURE_SIZE = 64
SUPERSAMPLING = 4

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 85, 220),
    "yellow": (245, 215, 50),
    "purple": (150, 60, 190),
    "orange": (250, 135, 35),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "black": (20, 20, 20),
    "pink": (250, 180, 205),
}
# Diameter (width of the bounding box) in pixels, lowest and highest.
SIZES: dict[str, tuple[float, float]] = {"small": (14.0, 16.0), "large": (24.0, 26.0)}
# Name -> (column, row) on a grid of three by three.
PLACES: dict[str, tuple[int, int]] = {
    "in the top left": (0, 0),
    "at the top": (1, 0),
    "in the top right": (2, 0),
    "on the left": (0, 1),
    "in the center": (1, 1),
    "on the right": (2, 1),
    "in the bottom left": (0, 2),
    "at the bottom": (1, 2),
    "in the bottom right": (2, 2),
}
# Name -> direction from the second object to the first, as (x, y), y downwards.
RELATIONS: dict[str, tuple[int, int]] = {
    "above": (0, -1),
    "below": (0, 1),
    "left of": (-1, 0),
    "right of": (1, 0),
}
# Centres of the grid's columns and rows, and how far an object strays from them, in pixels.
GRID = (16.0, 32.0, 48.0)
PLACE_JITTER = 2.0
# Half the distance between a pair's centres, how far each strays along that axis and across it.
# Two large objects keep a gap: 2 * (16 - 1) - 26 = 4 pixels.
PAIR_HALF_DISTANCE = 16.0
PAIR_JITTER_ALONG = 1.0
PAIR_JITTER_ACROSS = 6.0


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        shape: One of `SHAPES`.
        colour: A key of `COLOURS`.
        size: A key of `SIZES`.
        diameter: Width and height of the bounding box, in pixels.
        x: Centre of the bounding box, in pixels from the left edge.
        y: Centre of the bounding box, in pixels from the top edge.
    """

    shape: str
    colour: str
    size: str
    diameter: float
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows: one thing at a place, or two things in a relation.

    Attributes:
        things: One or two objects; in a pair the relation reads first to second.
        background: A key of `BACKGROUNDS`.
        place: A key of `PLACES` for a single object, else None.
        relation: A key of `RELATIONS` for a pair, else None.
    """

    things: tuple[Thing, ...]
    background: str
    place: str | None = None
    relation: str | None = None

    @property
    def scene_class(self) -> SceneClass:
        """`single` or `pair`."""
        return "single" if self.relation is None else "pair"


def scene(scene_class: SceneClass, seed: int) -> Scene:
    """Draws one scene at random.

    Args:
        scene_class: `single` or `pair`.
        seed: Any integer; the same seed gives the same scene.

    Raises:
        ValueError: The class is unknown.
    """
    if scene_class not in CLASSES:
        raise ValueError(f"unknown scene class {scene_class!r}; known: {', '.join(CLASSES)}")
    rng = random.Random(f"shapes-{scene_class}-{seed}")
    background = _choice(rng, tuple(BACKGROUNDS))
    if scene_class == "single":
        place = _choice(rng, tuple(PLACES))
        (centre,) = nominal_centres(place, None)
        thing = _thing(rng, *_stray(rng, centre, (PLACE_JITTER, PLACE_JITTER)))
        return Scene((thing,), background, place=place)
    relation = _choice(rng, tuple(RELATIONS))
    width = (PAIR_JITTER_ACROSS, PAIR_JITTER_ALONG)
    if RELATIONS[relation][0]:
        width = (PAIR_JITTER_ALONG, PAIR_JITTER_ACROSS)
    centres = (_stray(rng, centre, width) for centre in nominal_centres(None, relation))
    first, second = (_thing(rng, *centre) for centre in centres)
    return Scene((first, second), background, relation=relation)


def draw(scene: Scene) -> Picture:
    """Draws a scene.

    Returns:
        uint8, shape (64, 64, 3), RGB, edges anti-aliased by averaging 4×4 samples a pixel.
    """
    fine = PICTURE_SIZE * SUPERSAMPLING
    picture = np.empty((PICTURE_SIZE, PICTURE_SIZE, 3), np.float64)
    picture[:] = BACKGROUNDS[scene.background]
    axis = (np.arange(fine) + 0.5) / SUPERSAMPLING
    for thing in scene.things:
        u = (axis[None, :] - thing.x) / (thing.diameter / 2)
        v = (axis[:, None] - thing.y) / (thing.diameter / 2)
        inside = outline(thing.shape, u, v).astype(np.float64)
        blocks = inside.reshape(PICTURE_SIZE, SUPERSAMPLING, PICTURE_SIZE, SUPERSAMPLING)
        coverage = blocks.mean((1, 3))[..., None]
        picture += coverage * (np.array(COLOURS[thing.colour]) - picture)
    return np.rint(picture).astype(np.uint8)


def outline(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tells which points lie inside a shape that fills the square from -1 to 1.

    Args:
        shape: One of `SHAPES`.
        u: Horizontal coordinates, broadcast against `v`.
        v: Vertical coordinates, downwards.

    Raises:
        ValueError: The shape is unknown.
    """
    if shape == "circle":
        return u**2 + v**2 <= 1
    if shape == "square":
        return (np.abs(u) <= 1) & (np.abs(v) <= 1)
    if shape == "triangle":
        return (np.abs(u) <= (v + 1) / 2) & (v <= 1)
    if shape == "cross":
        arms = (np.abs(u) <= 0.36) | (np.abs(v) <= 0.36)
        return arms & (np.abs(u) <= 1) & (np.abs(v) <= 1)
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def nominal_centres(place: str | None, relation: str | None) -> tuple[tuple[float, float], ...]:
    """Where the objects of a scene lie before jitter, as (x, y) in pixels."""
    middle = PICTURE_SIZE / 2
    if relation is not None:
        dx, dy = (PAIR_HALF_DISTANCE * step for step in RELATIONS[relation])
        return (middle + dx, middle + dy), (middle - dx, middle - dy)
    column, row = PLACES[place or "in the center"]
    return ((GRID[column], GRID[row]),)


def _thing(rng: random.Random, x: float, y: float) -> Thing:
    size = _choice(rng, tuple(SIZES))
    low, high = SIZES[size]
    diameter = low + (high - low) * rng.random()
    return Thing(_choice(rng, SHAPES), _choice(rng, tuple(COLOURS)), size, diameter, x, y)


def _stray(
    rng: random.Random, centre: tuple[float, float], width: tuple[float, float]
) -> tuple[float, float]:
    return centre[0] + _jitter(rng, width[0]), centre[1] + _jitter(rng, width[1])


def _choice(rng: random.Random, options: tuple[str, ...]) -> str:
    return options[int(rng.random() * len(options))]


def _jitter(rng: random.Random, width: float) -> float:
    return (2 * rng.random() - 1) * width
