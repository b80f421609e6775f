"""What a sampler is: levels to visit, and a generator that visits them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from runtimes.denoiser import Latents
from runtimes.schedule import Level, NoiseSchedule

Denoise = Callable[[Latents, Level], Latents]
"""(x, level) → denoised, an estimate of the clean latents, of x's shape."""


class Noise(Protocol):
    """Where stochastic samplers take their noise from; `runtimes.noise.Generator` is one."""

    @property
    def seed(self) -> int:
        """What the stream was started with."""
        ...

    def randn(self, shape: Sequence[int]) -> Latents:
        """The next unit normal values of the stream."""
        ...


@dataclass(frozen=True)
class Step:
    """What a sampler yields after each call of the network.

    Attributes:
        index: which call this was: its level is `levels[index]`.
        total: how many calls `levels` has, those before `begin` included.
        level: the level of the call.
        x: the latents after the step; theirs to keep, no later step writes to them.
        denoised: the network's estimate of the clean latents at this call.
    """

    index: int
    total: int
    level: Level
    x: Latents
    denoised: Latents


Run = Generator[Step, Latents | None, Latents]
"""Yields a step after each call of the network, takes latents in exchange, returns the last."""


def replaced(x: Latents, sent: Latents | None) -> Latents:
    """The latents to go on with: those the caller sent in exchange for a step, if any."""
    return x if sent is None else sent


class Sampler(Protocol):
    """A way from noise to latents.

    Attributes:
        calls_per_step: calls of the network that make one step, as image to image counts
            `strength` in steps: diffusers' `scheduler.order`, 2 for samplers that call the network
            twice a step, else 1.
    """

    calls_per_step: ClassVar[int]

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
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """Visits the levels from `begin` on, one step for each but the last.

        Latents sent to the generator (`run.send(x)`) take the place of those it just yielded.

        Args:
            denoiser: the network behind its parameterisation.
            x: latents at `levels[begin]`, in the schedule's own scaling; not written to.
            levels: what `levels` gave, all of them: some samplers treat the ends of a schedule in
                their own ways.
            noise: unit noise, asked for only where the sampler is stochastic.
            begin: the first level visited; above 0 where a picture is changed, not made.
        """
        ...
