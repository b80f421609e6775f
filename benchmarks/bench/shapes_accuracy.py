"""How often the shapes model draws what its prompts say, and whether a bundle is that model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.results import Proportion
from benchmarks.shapes.generator import CLASSES, PICTURE_SIZE
from benchmarks.shapes.score import score
from benchmarks.shapes.vocabulary import END_OF_WORD, tokens, words
from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.latents import built_side
from runtimes.pictures import to_uint8
from runtimes.tokenizer import ClipTokenizer

Paint = Callable[[str, int], NDArray[np.float32]]
"""From a prompt and a seed to a picture, float32 [H, W, 3] in [0, 1]."""


def shapes_accuracy(paint: Paint, count: int) -> dict[str, Proportion]:
    """How many of the shapes model's prompts are drawn right in every attribute, by class.

    Args:
        paint: draws one picture, 64×64.
        count: prompts a class.

    Returns:
        Class → share with Wilson's 95 % interval.

    Raises:
        UsageError: pictures are of another size.
    """

    def generate(prompt: str, seed: int) -> NDArray[np.uint8]:
        picture = to_uint8(paint(prompt, seed))
        if picture.shape != (PICTURE_SIZE, PICTURE_SIZE, 3):
            raise _wrong_size(*picture.shape[:2])
        return picture

    found: dict[str, Proportion] = {}
    for scene_class in CLASSES:
        interval = score(generate, scene_class, count).accuracy()
        found[scene_class] = Proportion(
            estimate=interval.estimate, low=interval.low, high=interval.high, n=count
        )
    return found


def check_is_shapes(bundle: Bundle, *, height: int | None = None, width: int | None = None) -> None:
    """Refuses, before slow work, a bundle whose pictures the shapes model's judge can't judge.

    It is the shapes model, or one trained anew on the same captions, if it reads their vocabulary,
    whatever precision and engine it is compiled for.

    Args:
        bundle: the bundle.
        height: of the pictures to be drawn; None for the bundle's own.
        width: likewise.

    Raises:
        UsageError: it reads another vocabulary, or draws pictures of another size.
        LatedgeError: its tokenizer can't be read.
    """
    manifest = bundle.manifest
    folder = manifest.tokenizers.get("text_encoder")
    if folder is None or not _reads_captions(ClipTokenizer.open(bundle.path / folder)):
        raise UsageError(
            f"{bundle.path} is not the shapes model: it reads another vocabulary, and only the "
            "pictures of that model can be judged for prompt accuracy. Leave the accuracy out."
        )
    sides = (
        height or built_side(bundle, "height") or manifest.defaults.height,
        width or built_side(bundle, "width") or manifest.defaults.width,
    )
    if sides != (PICTURE_SIZE, PICTURE_SIZE):
        raise _wrong_size(*sides)


def _reads_captions(tokenizer: ClipTokenizer) -> bool:
    """Whether the tokenizer has the captions' vocabulary: each of their words is its own token."""
    wanted = tokens()
    return len(tokenizer) == len(wanted) and all(
        tokenizer.tokenize(word) == [wanted[word + END_OF_WORD]] for word in words()
    )


def _wrong_size(height: int, width: int) -> UsageError:
    return UsageError(
        f"prompt accuracy is judged on pictures of {PICTURE_SIZE}×{PICTURE_SIZE}, not "
        f"{height}×{width}; draw that size, or leave the accuracy out."
    )
