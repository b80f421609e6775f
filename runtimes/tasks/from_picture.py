"""What tasks that begin with a picture share: where they enter the schedule, how noise is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.picture_input import Read
from runtimes.preprocess import check_sizes, to_sample
from runtimes.schedule import Level
from runtimes.settings import Settings
from runtimes.tasks.task import Call

Floats = NDArray[np.float32]


def step_end(call: Call, index: int) -> Level:
    """Where the sampler's step ends that the network's call at `levels[index]` is part of.

    After the first of a step's two calls the reference's `add_noise`, which inpainting calls, takes
    the sigma of the step's end too: also where the second call is at a midpoint.
    """
    each = call.sampler.calls_per_step
    return call.levels[min((index // each + 1) * each, len(call.levels) - 1)]


def noised(clean: Floats, noise: Floats, level: Level) -> Floats:
    """Clean latents at a level, in its scaling: x = alpha * x0 + sigma * noise."""
    noisy = np.float32(level.alpha) * clean + np.float32(level.sigma) * noise
    return noisy.astype(np.float32, copy=False)


def spread(array: NDArray[Any], count: int) -> Floats:
    """Arrays of k pictures as those of `count`: the pictures of one lie side by side."""
    return cast("Floats", np.repeat(array, count // len(array), axis=0))


def samples(pictures: Sequence[Read], settings: Settings) -> Floats:
    """Pictures as the VAE encoder takes them: [k, 3, height, width]."""
    return np.stack([to_sample(each, settings.height, settings.width) for each in pictures])


def check_pictures(bundle: Bundle, settings: Settings, pictures: Sequence[Read]) -> None:
    """Refuses pictures that can't be encoded as the settings say.

    Raises:
        BundleError: there is no VAE encoder.
        UsageError: an array of another size, or another number than there are prompts.
    """
    bundle.graph("vae_encoder")
    check_number("image", len(pictures), len(settings.prompt), "prompts")
    check_sizes(pictures, settings.height, settings.width)


def check_number(name: str, found: int, count: int, whose: str) -> None:
    """Refuses a number of pictures that is neither one nor one for each.

    Args:
        name: the argument, as the error names it.
        found: how many there are.
        count: how many there may be beside one.
        whose: what each of them belongs to, in the plural.

    Raises:
        UsageError: another number.
    """
    if found not in (1, count):
        raise UsageError(
            f"there are {found} of {name} for {count} {whose}; give one for all, or one each."
        )
