"""What a call of the pipeline was asked for: what decides its pictures, apart from the bundle."""

from __future__ import annotations

import msgspec

from runtimes.samplers.choice import ScheduleChoice


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the pictures of one call, apart from the bundle.

    Attributes:
        prompt: one or more texts; every one gives `num_images_per_prompt` pictures.
        negative_prompt: as many texts as `prompt`; what guidance leads away from.
        num_inference_steps: steps of the sampler, 1 to 1000.
        guidance_scale: classifier-free guidance; 1 or less turns it off.
        seed: of the noise, -2^63 to 2^64-1.
        sampler: a name of `runtimes.samplers.sampler_names`.
        height: in pixels.
        width: in pixels.
        num_images_per_prompt: pictures of each prompt.
        task: a name of `runtimes.tasks.TASKS`.
        schedule: a name of `runtimes.samplers.choice.SCHEDULES`; None where sigmas or timesteps are
            given.
        spacing: which timesteps the schedule spreads; None where they are no spread, or the
            sampler has its own.
        sigmas: as given, of all steps and of where the last one ends.
        timesteps: as given, of all steps.
        sampler_options: as given, over the scheduler config.
    """

    prompt: tuple[str, ...]
    negative_prompt: tuple[str, ...]
    num_inference_steps: int
    guidance_scale: float
    seed: int
    sampler: str
    height: int
    width: int
    num_images_per_prompt: int
    task: str = "text-to-image"
    schedule: str | None = "plain"
    spacing: str | None = None
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    sampler_options: dict[str, bool | int | float | str] = {}

    @property
    def choice(self) -> ScheduleChoice:
        """All that is said of the schedule."""
        return ScheduleChoice(
            self.schedule, self.spacing, self.sigmas, self.timesteps, self.sampler_options
        )

    @property
    def guided(self) -> bool:
        """Whether the negative prompt plays a part: as in diffusers, from above 1."""
        return self.guidance_scale > 1

    @property
    def count(self) -> int:
        """How many pictures are made."""
        return len(self.prompt) * self.num_images_per_prompt
