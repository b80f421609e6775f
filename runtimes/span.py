"""Which of a sampler's levels a call visits: from where a picture enters to where another goes on.

C. Meng et al., "SDEdit", 2022, for pictures that enter in the middle. Y. Balaji et al., "eDiff-I:
Text-to-Image Diffusion Models with an Ensemble of Expert Denoisers", 2022, as SDXL's refiner is
used: shares of the schedule are told in training timesteps, as diffusers' `denoising_end` and
`denoising_start` are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from runtimes.bundle import Bundle
from runtimes.checks import check_number
from runtimes.errors import UsageError
from runtimes.noise import Generator
from runtimes.options import HandoverOptions
from runtimes.plan import Plan
from runtimes.prompts.encoders import UNET
from runtimes.settings import Settings


class Shares(TypedDict):
    """The fields of `Settings` that `settle_shares` settles."""

    denoising_end: float | None
    denoising_start: float | None
    refiner_start: float | None


REFINER_START = 0.8
"""diffusers' documented share for SDXL's ensemble."""

REFINED = ("text-to-image", "image-to-image")
"""Tasks that a bundle's refiner goes on with."""


@dataclass(frozen=True)
class Span:
    """Levels of a sampler.

    Attributes:
        begin: the first one that is visited.
        end: the one where sampling stops.
    """

    begin: int
    end: int

    @property
    def calls(self) -> int:
        """How many calls of the network are made."""
        return self.end - self.begin


@dataclass(frozen=True)
class Stage:
    """A U-Net's share of the way.

    Attributes:
        unet: the component.
        span: the levels that it is called at.
    """

    unet: str
    span: Span


def settle_shares(bundle: Bundle, task: str, options: HandoverOptions) -> Shares:
    """Checks which share of the noise schedule is sampled, and by which U-Net.

    Args:
        bundle: which may have a refiner.
        task: that was picked.
        options: of the call.

    Raises:
        UsageError: a share isn't between 0 and 1, or nothing is left between them.
    """
    start = _share("denoising_start", options.get("denoising_start"))
    end = _share("denoising_end", options.get("denoising_end"))
    if start is not None and end is not None and start >= end:
        raise UsageError(f"denoising_start {start:g} must lie below denoising_end {end:g}.")
    refined = _refiner_start(bundle, task, options.get("refiner_start"), end)
    return {"denoising_end": end, "denoising_start": start, "refiner_start": refined}


def _refiner_start(bundle: Bundle, task: str, given: object, end: float | None) -> float | None:
    """Where the bundle's refiner goes on; None where it plays no part."""
    against = None
    if bundle.manifest.refiner is None:
        against = "this bundle has no refiner"
    elif end is not None:
        against = f"sampling stops at denoising_end {end:g}"
    elif task not in REFINED:
        against = f"{task} isn't refined"
    if given is None:
        return REFINER_START if against is None else None
    if against is not None:
        raise UsageError(f"refiner_start {given} is given, and {against}; leave it out.")
    share = check_number("refiner_start", given, 0, 1)
    return None if share == 1 else share


def stages_of(bundle: Bundle, settings: Settings, plan: Plan) -> tuple[Stage, ...]:
    """The U-Nets of a call, one after the other, each with the levels that it is called at."""
    whole, refiner = span_of(settings, plan), bundle.manifest.refiner
    if refiner is None or settings.refiner_start is None:
        return (Stage(UNET, whole),)
    middle = max(whole.begin, handover(plan, settings.refiner_start))
    stages = (
        Stage(UNET, Span(whole.begin, middle)),
        Stage(refiner.component, Span(middle, whole.end)),
    )
    return tuple(stage for stage in stages if stage.span.calls)


def span_of(settings: Settings, plan: Plan) -> Span:
    """The levels that a call visits.

    Raises:
        UsageError: there is none.
    """
    steps, end = settings.num_inference_steps, len(plan.levels) - 1
    if settings.denoising_end is not None:
        end = handover(plan, settings.denoising_end)
    begin = 0
    if settings.denoising_start is not None:
        begin = handover(plan, settings.denoising_start)
    elif settings.strength is not None:
        begin = first_level(steps, settings.strength, plan.sampler.calls_per_step)
    if begin >= end:
        shares = {"denoising_start": settings.denoising_start, "strength": settings.strength}
        said = [f"{name} {value:g}" for name, value in shares.items() if value is not None][:1]
        if settings.denoising_end is not None:
            said.append(f"denoising_end {settings.denoising_end:g}")
        raise UsageError(f"{' and '.join(said)} of {steps} steps leave none; give more steps.")
    return Span(begin, end)


def handover(plan: Plan, share: float) -> int:
    """The level at which a share of the schedule is done, between two whole steps.

    It is the first one of a timestep below the cutoff, as in diffusers. Where a step takes two
    calls, diffusers' two pipelines cut it at different places; here both sides take its beginning.

    Args:
        plan: the sampler with its levels.
        share: of the training timesteps, from the noisy end.
    """
    cutoff = round(plan.num_train_timesteps - share * plan.num_train_timesteps)
    done = sum(level.timestep >= cutoff for level in plan.levels[:-1])
    return done // plan.sampler.calls_per_step * plan.sampler.calls_per_step


def first_level(num_inference_steps: int, strength: float, calls_per_step: int) -> int:
    """Which of a sampler's levels a picture enters at: its last `strength` of the steps are made.

    Noise is added up to that level, and taken off from there.

    Raises:
        UsageError: not one step would be made.
    """
    made = int(num_inference_steps * strength)
    if made < 1:
        least = 1 / num_inference_steps
        raise UsageError(
            f"strength {strength:g} of {num_inference_steps} steps makes no step at all; give "
            f"strength {least:.3g} or more, or more steps."
        )
    return (num_inference_steps - made) * calls_per_step


def check_entry(plan: Plan, begin: int) -> None:
    """Runs a sampler's first step from a level on one number.

    Some samplers refuse to begin in the middle, and say so when they are run, not before.

    Raises:
        UsageError: says why.
    """
    if begin:
        x = np.zeros((1, 1, 1, 1), np.float32)
        run = plan.sampler.sample(lambda x, level: x, x, plan.levels, Generator(0), begin=begin)
        next(run)


def _share(name: str, value: object) -> float | None:
    if value is None:
        return None
    share = check_number(name, value)
    if not 0 < share < 1:
        raise UsageError(f"{name} must lie between 0 and 1, not {share:g}; leave it out for all.")
    return share
