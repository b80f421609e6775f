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

from runtimes.checks import check_number
from runtimes.errors import UsageError
from runtimes.noise import Generator
from runtimes.options import HandoverOptions
from runtimes.plan import Plan
from runtimes.settings import Settings


class Shares(TypedDict):
    """The fields of `Settings` that `settle_shares` settles."""

    denoising_end: float | None
    denoising_start: float | None


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


def settle_shares(options: HandoverOptions) -> Shares:
    """Checks which share of the noise schedule is sampled.

    Raises:
        UsageError: a share isn't between 0 and 1, or nothing is left between them.
    """
    start = _share("denoising_start", options.get("denoising_start"))
    end = _share("denoising_end", options.get("denoising_end"))
    if start is not None and end is not None and start >= end:
        raise UsageError(f"denoising_start {start:g} must lie below denoising_end {end:g}.")
    return {"denoising_end": end, "denoising_start": start}


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


def check_entry(plan: Plan, span: Span) -> None:
    """Runs a sampler's first step from the middle on one number.

    Some samplers refuse to begin there, and say so when they are run, not before.

    Raises:
        UsageError: says why.
    """
    if span.begin:
        x = np.zeros((1, 1, 1, 1), np.float32)
        run = plan.sampler.sample(
            lambda x, level: x, x, plan.levels, Generator(0), begin=span.begin
        )
        next(run)


def _share(name: str, value: object) -> float | None:
    if value is None:
        return None
    share = check_number(name, value)
    if not 0 < share < 1:
        raise UsageError(f"{name} must lie between 0 and 1, not {share:g}; leave it out for all.")
    return share
