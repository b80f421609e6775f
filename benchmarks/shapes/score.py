"""Scores a model on the shapes: how often its picture shows what the prompt says.

As a command, on one model or on two with the difference between them:

    python -m benchmarks.shapes.score PATH [PATH2] --steps 20 --count 500
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from benchmarks.shapes.captions import caption
from benchmarks.shapes.generator import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Picture,
    Scene,
    SceneClass,
    scene,
)
from benchmarks.shapes.intervals import Interval, paired_difference, wilson
from benchmarks.shapes.judge import Reading, Verdict, compare_reading, judge

# Scenes from here on are never trained on. Their captions may be: the grammar is small.
FIRST_PROMPT_SEED = 1_000_000_000
ATTRIBUTES = (*(field.name for field in fields(Verdict)), "all")


@dataclass(frozen=True)
class Prompt:
    """One question to a model.

    Attributes:
        text: The caption.
        scene: What the picture should show; its exact measures are not asked for.
        seed: Of the noise that the picture starts from.
    """

    text: str
    scene: Scene
    seed: int


@dataclass(frozen=True)
class Score:
    """The verdicts on the pictures of one class of prompts.

    Attributes:
        scene_class: `single` or `pair`.
        verdicts: One a prompt, in the order of `prompts`.
    """

    scene_class: SceneClass
    verdicts: tuple[Verdict, ...]

    def right(self, attribute: str = "all") -> tuple[bool, ...]:
        """Which pictures have an attribute (one of `ATTRIBUTES`) right."""
        return tuple(bool(getattr(verdict, attribute)) for verdict in self.verdicts)

    def accuracy(self, attribute: str = "all") -> Interval:
        """The share of pictures that have an attribute right, with Wilson's 95 % interval."""
        right = self.right(attribute)
        return wilson(sum(right), len(right))


def prompts(scene_class: SceneClass, count: int = 500) -> tuple[Prompt, ...]:
    """The fixed questions of a class: a longer list begins with the shorter one."""
    scenes = [scene(scene_class, FIRST_PROMPT_SEED + i) for i in range(count)]
    return tuple(Prompt(caption(shown), shown, seed) for seed, shown in enumerate(scenes))


def score_pictures(asked: Sequence[Prompt], pictures: Iterable[Picture]) -> Score:
    """Judges one picture a prompt.

    Args:
        asked: Prompts of one class.
        pictures: uint8, shape (64, 64, 3), in the same order; may be made as they are judged.

    Raises:
        ValueError: There are no prompts, or not one picture for each.
    """
    if not asked:
        raise ValueError("no prompts to score")
    verdicts = tuple(
        judge(picture, prompt.scene) for prompt, picture in zip(asked, pictures, strict=True)
    )
    return Score(asked[0].scene.scene_class, verdicts)


def score(
    generate: Callable[[str, int], Picture],
    scene_class: SceneClass,
    count: int = 500,
    on_picture: Callable[[int], None] = lambda done: None,
) -> Score:
    """Scores anything that makes a picture from a prompt and a seed.

    Args:
        generate: From prompt and seed to a picture, uint8, shape (64, 64, 3).
        scene_class: `single` or `pair`.
        count: Number of prompts.
        on_picture: Told the number of pictures made so far.
    """
    asked = prompts(scene_class, count)

    def pictures() -> Iterable[Picture]:
        for done, prompt in enumerate(asked, start=1):
            yield generate(prompt.text, prompt.seed)
            on_picture(done)

    return score_pictures(asked, pictures())


def compare(a: Score, b: Score, attribute: str = "all") -> Interval:
    """How much more often b is right than a on the same prompts, with its 95 % interval.

    Raises:
        ValueError: The scores are of different classes or counts.
    """
    if a.scene_class != b.scene_class:
        raise ValueError(f"scores of different classes: {a.scene_class} and {b.scene_class}")
    return paired_difference(a.right(attribute), b.right(attribute))


def chance(scene_class: SceneClass, count: int = 5_000) -> dict[str, float]:
    """What perfect pictures of other prompts would score: the level of a model that can't read.

    Measured on scenes drawn at random, since a pair's objects are matched in its favour.

    Returns:
        Attribute to share of right ones. `all` is exact: one in all scenes of the class, and for
        pairs one in half of them, as each has two captions ("above" and "below").
    """
    rng = random.Random(0)
    seeds = [(rng.randrange(2**40), rng.randrange(2**40)) for _ in range(count)]
    verdicts = [
        compare_reading(_as_reading(scene(scene_class, shown)), scene(scene_class, asked))
        for shown, asked in seeds
    ]
    shares = {name: sum(getattr(v, name) for v in verdicts) / count for name in ATTRIBUTES}
    return shares | {"all": _share_of_one_scene(scene_class)}


def _as_reading(shown: Scene) -> Reading:
    return Reading(shown.background, shown.things)


def _share_of_one_scene(scene_class: SceneClass) -> float:
    things = len(SHAPES) * len(COLOURS) * len(SIZES)
    if scene_class == "single":
        return 1 / (len(BACKGROUNDS) * things * len(PLACES))
    return 2 / (len(BACKGROUNDS) * things**2 * len(RELATIONS))


if __name__ == "__main__":
    from benchmarks.shapes.score_command import main

    sys.exit(main())
