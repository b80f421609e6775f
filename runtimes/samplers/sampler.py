"""What a sampler is: levels to visit, and a generator that visits them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtimes.denoiser import Latents
from runtimes.schedule import Level, NoiseSchedule

Denoise = Callable[[Latents, Level], Latents]
"""(x, level) → denoised, an estimate of the clean latents, of x's shape."""

Noise = Callable[[tuple[int, ...]], Latents]
"""shape → unit noise."""


@dataclass(frozen=True)
class Step:
    """What a sampler yields after each call of the network.

    Attributes:
        index: which call this was, from 0.
        total: how many calls there are.
        level: the level of the call.
        x: the latents after the step; theirs to keep, no later step writes to them.
        denoised: the network's estimate of the clean latents at this call.
    """

    index: int
    total: int
    level: Level
    x: Latents
    denoised: Latents


class Sampler(Protocol):
    """A way from noise to latents."""

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """The level of each call of the network, in order, and the level where the last step ends.

        Args:
            schedule: the noise schedule.
            num_inference_steps: steps as users count them. Some samplers call the network more
                often; the length of the result less one says how often.

        Raises:
            UsageError: there can't be so many steps.
        """
        ...

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """What unit noise is multiplied by to give latents at the first of `levels`."""
        ...

    def sample(
        self, denoiser: Denoise, x: Latents, levels: Sequence[Level], noise: Noise
    ) -> Generator[Step, None, Latents]:
        """Visits the levels, one step for each but the last; returns the latents at the end.

        Args:
            denoiser: the network behind its parameterisation.
            x: latents at the first level, in the schedule's own scaling; not written to.
            levels: what `levels` gave.
            noise: unit noise, asked for only where the sampler is stochastic.
        """
        ...
