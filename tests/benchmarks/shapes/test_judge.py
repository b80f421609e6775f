from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.shapes.captions import caption, parse
from benchmarks.shapes.generator import CLASSES, Picture, Scene, SceneClass, Thing, draw
from benchmarks.shapes.judge import components, judge, read
from benchmarks.shapes.score import prompts, score_pictures

RED = Thing("circle", "red", "large", 24.0, 32.0, 16.5)
BLUE = Thing("square", "blue", "small", 13.0, 32.0, 47.5)
PAIR = Scene((RED, BLUE), "white", relation="above")
SINGLE = Scene((replace(RED, y=32.0),), "white", place="in the center")


@pytest.mark.parametrize("scene_class", CLASSES)
def test_passes_the_generators_own_drawings(scene_class: SceneClass) -> None:
    asked = prompts(scene_class, 500)
    score = score_pictures(asked, (draw(prompt.scene) for prompt in asked))
    assert score.accuracy().estimate >= 0.99


@pytest.mark.parametrize("scene_class", CLASSES)
def test_passes_slight_blur_and_drift(scene_class: SceneClass) -> None:
    def worn(picture: Picture) -> Picture:
        blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.7))
        return np.clip(np.asarray(blurred) + np.array([9.0, -9.0, 6.0]), 0, 255).astype(np.uint8)

    asked = prompts(scene_class, 200)
    score = score_pictures(asked, (worn(draw(prompt.scene)) for prompt in asked))
    assert score.accuracy().estimate >= 0.97


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("shape", replace(PAIR, things=(replace(RED, shape="triangle"), BLUE))),
        ("colour", replace(PAIR, things=(replace(RED, colour="orange"), BLUE))),
        ("size", replace(PAIR, things=(RED, replace(BLUE, diameter=24.0)))),
        ("place", replace(PAIR, things=(replace(RED, y=47.5), replace(BLUE, y=16.5)))),
        ("background", replace(PAIR, background="gray")),
    ],
)
def test_names_the_one_fault_of_a_pair(fault: str, shown: Scene) -> None:
    verdict = judge(draw(shown), PAIR)
    assert not verdict.all
    assert {name for name, right in vars(verdict).items() if not right} == {fault}


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("shape", replace(SINGLE.things[0], shape="cross")),
        ("colour", replace(SINGLE.things[0], colour="purple")),
        ("size", replace(SINGLE.things[0], diameter=13.0)),
        ("place", replace(SINGLE.things[0], x=16.0)),
    ],
)
def test_names_the_one_fault_of_a_single_object(fault: str, shown: Thing) -> None:
    verdict = judge(draw(replace(SINGLE, things=(shown,))), SINGLE)
    assert {name for name, right in vars(verdict).items() if not right} == {fault}


def test_a_wrong_count_leaves_the_background_alone() -> None:
    verdict = judge(draw(SINGLE), PAIR)
    assert not verdict.count
    assert verdict.background
    assert not any((verdict.shape, verdict.colour, verdict.size, verdict.place))


def test_an_empty_picture_shows_nothing() -> None:
    assert read(np.full((64, 64, 3), 128, np.uint8)).things == ()


def test_noise_shows_nothing_known() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert not judge(noise, PAIR).all


def test_a_caption_can_be_asked_for() -> None:
    assert judge(draw(PAIR), parse(caption(PAIR))).all


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(64, 64, 3\); given: float64"):
        read(np.zeros((64, 64, 3)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"given: uint8 of \(32, 32, 3\)"):
        read(np.zeros((32, 32, 3), np.uint8))


def test_components_meet_at_edges_alone() -> None:
    mask = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], bool)
    assert [int(part.sum()) for part in components(mask)] == [1, 3]
