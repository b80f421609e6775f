"""Where one model leaves the noise schedule and another takes over: an ensemble of experts.

Y. Balaji et al., "eDiff-I: Text-to-Image Diffusion Models with an Ensemble of Expert Denoisers",
2022, as SDXL's refiner is used: the share of the schedule is told in training timesteps, as
diffusers' `denoising_end` and `denoising_start` are.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtimes.checks import check_number
from runtimes.errors import UsageError
from runtimes.samplers import Sampler
from runtimes.schedule import Level


def check_share(name: str, value: object) -> float | None:
    """A share of the schedule, between 0 and 1; None for none.

    Raises:
        UsageError: not a number between 0 and 1, both left out.
    """
    if value is None:
        return None
    share = check_number(name, value)
    if not 0 < share < 1:
        raise UsageError(f"{name} must lie between 0 and 1, not {share:g}; leave it out for all.")
    return share


def handover(
    sampler: Sampler, levels: Sequence[Level], share: float, num_train_timesteps: int
) -> int:
    """The level at which a share of the schedule is done, between two whole steps.

    It is the first one of a timestep below the cutoff, as in diffusers. Where a step takes two
    calls, diffusers' two pipelines cut it at different places; both sides here take its beginning.

    Args:
        sampler: its `calls_per_step` levels make a step.
        levels: those that it visits, and where the last step ends.
        share: of `num_train_timesteps`, from the noisy end.
        num_train_timesteps: of the schedule.
    """
    cutoff = round(num_train_timesteps - share * num_train_timesteps)
    done = sum(level.timestep >= cutoff for level in levels[:-1])
    return done // sampler.calls_per_step * sampler.calls_per_step


def last_level(
    sampler: Sampler, levels: Sequence[Level], share: float | None, num_train_timesteps: int
) -> int:
    """The level where sampling stops; the last one's end where no share is given."""
    if share is None:
        return len(levels) - 1
    return handover(sampler, levels, share, num_train_timesteps)
