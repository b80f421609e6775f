"""DDPM: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", 2020.

Follows diffusers' DDPMScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from runtimes.denoiser import Latents
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Offset, Positive, Share
from runtimes.samplers.sampler import Denoise, Noise, Run, Step, replaced
from runtimes.samplers.strided import strided_timesteps
from runtimes.samplers.thresholding import bounded
from runtimes.schedule import Level, NoiseSchedule, Spacing
from runtimes.schedules.given import given_timesteps

Variance = Literal["fixed_small", "fixed_small_log", "fixed_large"] | None

VARIANCE_MIN = 1e-20  # the reference's, for the logarithm it may take


@dataclass(frozen=True)
class DDPM:
    """DDPM's ancestral steps.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        timesteps: the timesteps to visit, descending; None for those of the spacing.
        variance_type: how much noise a step draws: the variance of what is between two levels
            given the clean latents (the small ones), or not given them. None, which a DPM-Solver
            config says, is small.
        clip_sample: whether the denoised estimate is clipped, where it isn't thresholded. Not
            right for latents, and diffusers' default all the same.
        clip_sample_range: the largest magnitude clipping leaves.
        thresholding: whether the denoised estimate is thresholded.
        dynamic_thresholding_ratio: see `Thresholding`.
        sample_max_value: see `Thresholding`.
    """

    timestep_spacing: Spacing = "leading"
    steps_offset: Offset = 0
    timesteps: tuple[float, ...] | None = None
    variance_type: Variance = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Share = 0.995
    sample_max_value: Positive = 1.0
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "DDPMScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": 0,
        # The reference takes the root of fixed_large_log's negative logarithm.
        "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", None),
        "clip_sample": (True, False),
        "clip_sample_range": 1.0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False, True),
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls. The last step ends without noise."""
        if self.timesteps is not None:
            train = schedule.num_train_timesteps
            timesteps = given_timesteps(self.timesteps, num_inference_steps, train, whole=True)
        else:
            timesteps = strided_timesteps(
                schedule, num_inference_steps, self.timestep_spacing, self.steps_offset
            )
        return (*(schedule.level(int(timestep)) for timestep in timesteps), Level(1, 0, 0))

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: latents have unit variance at every level."""
        return 1.0

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws noise at every step but that from timestep 0."""
        for index in range(begin, len(levels) - 1):
            level = levels[index]
            denoised = denoiser(x, level)
            x = self._step(x, bounded(denoised, self), level, levels[index + 1], noise)
            x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
        return x

    def _step(
        self, x: Latents, denoised: Latents, level: Level, target: Level, noise: Noise
    ) -> Latents:
        """Equations 6 and 7, for steps of any length."""
        kept = (level.alpha / target.alpha) ** 2
        share = (1 - kept) / level.sigma**2
        x = (target.alpha * share) * denoised + (
            math.sqrt(kept) * target.sigma**2 / level.sigma**2
        ) * x
        if level.timestep == 0:
            return x
        small = max(share * target.sigma**2, VARIANCE_MIN)
        variance = 1 - kept if self.variance_type == "fixed_large" else small
        return x + math.sqrt(variance) * noise.randn(x.shape)
