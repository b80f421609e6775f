"""The caption grammar: what a scene is called, and what scene a caption calls for.

Such as "a small blue cross in the top left on a gray background" and "a large red circle above a
small blue square on a white background".
"""

from __future__ import annotations

import random
import re

from benchmarks.shapes.generator import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    nominal_centres,
)


def caption(scene: Scene) -> str:
    """Describes a scene in full: every object's size, colour and shape, where, on what background.

    Example: `a large red circle above a small blue square on a white background`.
    """
    return sentence(
        tuple((thing.size, thing.colour, thing.shape) for thing in scene.things),
        place=scene.place,
        relation=scene.relation,
        background=scene.background,
    )


def brief_caption(scene: Scene, seed: int) -> str:
    """Describes a scene with sizes, place and background each left out half of the time."""
    rng = random.Random(f"shapes-brief-{seed}")
    with_size, with_place, with_background = (rng.random() < 0.5 for _ in range(3))
    return sentence(
        tuple(
            (thing.size, thing.colour, thing.shape) if with_size else (thing.colour, thing.shape)
            for thing in scene.things
        ),
        place=scene.place if with_place else None,
        relation=scene.relation,
        background=scene.background if with_background else None,
    )


def sentence(
    things: tuple[tuple[str, ...], ...],
    place: str | None = None,
    relation: str | None = None,
    background: str | None = None,
) -> str:
    """Puts the words of a caption in order; what is None is left out."""
    phrases = [" ".join((_article(words[0]), *words)) for words in things]
    parts = [phrases[0], place, relation, *phrases[1:]]
    if background is not None:
        parts.append(f"on a {background} background")
    return " ".join(part for part in parts if part is not None)


def parse(text: str) -> Scene:
    """Reads a full caption back as a scene, with sizes and places in the middle of their ranges.

    Raises:
        ValueError: The text is no full caption of the grammar.
    """
    found = _CAPTION.fullmatch(text.strip().lower())
    if found is None:
        example = "a large red circle above a small blue square on a white background"
        raise ValueError(f"not a full caption of the grammar: {text!r}; one is: {example!r}")
    words = found.groupdict()
    centres = nominal_centres(words["place"], words["relation"])
    things = tuple(
        Thing(words[f"shape{i}"], words[f"colour{i}"], size, sum(SIZES[size]) / 2, *centre)
        for i, centre in enumerate(centres)
        for size in (words[f"size{i}"],)
    )
    return Scene(things, words["background"], words["place"], words["relation"])


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _one_of(name: str, options: tuple[str, ...]) -> str:
    return f"(?P<{name}>{'|'.join(options)})"


def _thing_pattern(index: int) -> str:
    size = _one_of(f"size{index}", tuple(SIZES))
    colour = _one_of(f"colour{index}", tuple(COLOURS))
    return f"an? {size} {colour} {_one_of(f'shape{index}', SHAPES)}"


# Longer places first, since one may begin with another.
_PLACE = _one_of("place", tuple(sorted(PLACES, key=len, reverse=True)))
_RELATION = f"{_one_of('relation', tuple(RELATIONS))} {_thing_pattern(1)}"
_BACKGROUND = f"on a {_one_of('background', tuple(BACKGROUNDS))} background"
_CAPTION = re.compile(f"{_thing_pattern(0)} (?:{_PLACE}|{_RELATION}) {_BACKGROUND}")
