import numpy as np
import pytest

from benchmarks.shapes.generator import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    PICTURE_SIZE,
    SHAPES,
    SIZES,
    SceneClass,
    draw,
    outline,
    scene,
)
from benchmarks.shapes.judge import OBJECT_DISTANCE


@pytest.mark.parametrize("scene_class", CLASSES)
def test_same_seed_same_bytes(scene_class: SceneClass) -> None:
    for seed in (0, 7, 10**9):
        first, again = scene(scene_class, seed), scene(scene_class, seed)
        assert first == again
        np.testing.assert_array_equal(draw(first), draw(again))


@pytest.mark.parametrize("scene_class", CLASSES)
def test_seeds_and_classes_differ(scene_class: SceneClass) -> None:
    assert len({scene(scene_class, seed) for seed in range(100)}) == 100


def test_a_known_scene_stays_what_it_was() -> None:
    """Other bytes from a seed would change every published figure."""
    shown = scene("single", 0)
    thing = shown.things[0]
    assert (thing.size, thing.colour, thing.shape) == ("small", "purple", "circle")
    assert (shown.place, shown.background) == ("on the left", "pink")
    picture = draw(shown)
    assert picture.dtype == np.uint8
    assert picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    assert tuple(picture[0, 0]) == BACKGROUNDS["pink"]
    assert tuple(picture[int(thing.y), int(thing.x)]) == COLOURS["purple"]


def test_every_word_occurs() -> None:
    things = [thing for seed in range(300) for thing in scene("pair", seed).things]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.size for thing in things} == set(SIZES)


@pytest.mark.parametrize("scene_class", CLASSES)
def test_objects_lie_inside_and_apart(scene_class: SceneClass) -> None:
    for seed in range(500):
        things = scene(scene_class, seed).things
        for thing in things:
            reach = thing.diameter / 2
            assert min(thing.x, thing.y) - reach >= 1
            assert max(thing.x, thing.y) + reach <= PICTURE_SIZE - 1
        if len(things) == 2:
            a, b = things
            gap = max(abs(a.x - b.x), abs(a.y - b.y)) - (a.diameter + b.diameter) / 2
            assert gap >= 3


def test_objects_stand_out_from_backgrounds() -> None:
    for background in BACKGROUNDS.values():
        for colour in COLOURS.values():
            assert np.linalg.norm(np.subtract(background, colour)) > 2 * OBJECT_DISTANCE


def test_edges_are_anti_aliased() -> None:
    assert len(np.unique(draw(scene("single", 0)).reshape(-1, 3), axis=0)) > 5


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown scene class 'triple'; known: single, pair"):
        scene("triple", 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="unknown shape 'star'; known: circle, square"):
        outline("star", np.zeros(1), np.zeros(1))
