"""Between two noises, or two prompts: mixtures that stay what the networks know.

K. Shoemake, "Animating Rotation with Quaternion Curves", 1985, for slerp. A straight mixture of two
noises has less variance than either, which paints a flat picture; along the arc it keeps theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.checks import check_count, check_share
from runtimes.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from runtimes.pipeline import Pipeline
    from runtimes.result import Result

Floats = NDArray[np.floating[Any]]
MAX_FRAMES = 100_000

_PARALLEL = 1e-6
"""Sine of the angle below which two arrays are mixed straight: along the arc, 0 / 0 comes near."""


def lerp(start: Floats, end: Floats, share: float) -> Floats:
    """The straight mixture: `start` at 0, `end` at 1.

    Args:
        start: floats of any shape.
        end: of the same shape.
        share: from 0 to 1.

    Raises:
        UsageError: the shapes differ, or the share is out of range.
    """
    share = _check(start, end, share)
    return (1 - share) * start + share * end


def slerp(start: Floats, end: Floats, share: float) -> Floats:
    """The mixture along the arc between two arrays, each taken as one vector.

    The angle is that between the directions; lengths are mixed as a consequence. Arrays that point
    (nearly) the same or opposite ways have no one arc, and are mixed straight.

    Args:
        start: floats of any shape; the result at 0.
        end: of the same shape; the result at 1.
        share: from 0 to 1.

    Raises:
        UsageError: the shapes differ, or the share is out of range.
    """
    share = _check(start, end, share)
    a, b = start.astype(np.float64).ravel(), end.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths else 1.0
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    if math.sin(angle) < _PARALLEL:
        return lerp(start, end, share)
    from_start = math.sin((1 - share) * angle) / math.sin(angle)
    from_end = math.sin(share * angle) / math.sin(angle)
    return from_start * start + from_end * end


MIXTURES: Mapping[str, Callable[[Floats, Floats, float], Floats]] = {"lerp": lerp, "slerp": slerp}
Mixture = Literal["lerp", "slerp"]


def between(
    start: Floats, end: Floats, frames: int, *, how: Mixture = "slerp"
) -> list[NDArray[np.float32]]:
    """A row of arrays from one to the other, both included: latents, or text embeddings.

    Args:
        start: the first, of any shape.
        end: the last, of the same shape.
        frames: how many, 2 or more.
        how: "slerp" along the arc, right for noise; "lerp" straight.

    Raises:
        UsageError: the shapes differ, fewer than 2 frames, or an unknown mixture.
    """
    if how not in MIXTURES:
        raise unknown_name("mixture", how, MIXTURES)
    mix = MIXTURES[how]
    return [mix(start, end, share).astype(np.float32) for share in shares(frames)]


def shares(frames: int) -> list[float]:
    """From 0 to 1 in even steps, both included.

    Raises:
        UsageError: fewer than 2 frames.
    """
    frames = check_count("frames", frames, MAX_FRAMES)
    if frames < 2:
        raise UsageError("frames is 1; from one picture to another there are at least 2.")
    return [index / (frames - 1) for index in range(frames)]


def interpolate(
    pipe: Pipeline, prompt: str, *, seed: int, to_seed: int, frames: int, **options: Any
) -> Iterator[Result]:
    """Pictures on the way from one seed's to another's.

    Each is a call of the pipeline with `variation_seed` and `variation_strength`, and so can be
    made again from its own settings. The first is the picture of `seed`, the last of `to_seed`.

    Args:
        pipe: what draws.
        prompt: of all pictures.
        seed: of the first.
        to_seed: of the last.
        frames: how many, 2 or more.
        options: further arguments of `Pipeline.__call__`, the same for all.

    Returns:
        The results, each made when it is asked for.

    Raises:
        UsageError: an argument is wrong.
    """
    steps = shares(frames)
    for name in ("variation_seed", "variation_strength", "latents"):
        if options.get(name) is not None:
            raise UsageError(f"{name} can't be given here: seed and to_seed decide the noise.")
    return (
        pipe(prompt, seed=seed, variation_seed=to_seed, variation_strength=share, **options)
        for share in steps
    )


def _check(start: Floats, end: Floats, share: float) -> float:
    for given in cast("tuple[object, ...]", (start, end)):
        if not isinstance(given, np.ndarray):
            raise UsageError(f"NumPy arrays can be mixed, not {type(given).__name__}.")
    if start.shape != end.shape:
        raise UsageError(f"arrays of shapes {start.shape} and {end.shape} can't be mixed.")
    return check_share("share", share)
