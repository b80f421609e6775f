"""Multistep consistency sampling: S. Luo et al., "Latent Consistency Models", 2023, algorithm 3.

Follows diffusers' LCMScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec

from runtimes.denoiser import Latents
from runtimes.samplers.distilled import distilled_timesteps
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Positive, Share
from runtimes.samplers.sampler import Denoise, Noise, Run, Step, replaced
from runtimes.samplers.thresholding import bounded
from runtimes.schedule import Level, NoiseSchedule

SIGMA_DATA = 0.5  # the paper's, in the boundary condition


@dataclass(frozen=True)
class LCM:
    """Denoises wholly at each step and adds fresh noise, but at the last.

    Attributes:
        original_inference_steps: how many timesteps the model was distilled on.
        timestep_scaling: what timesteps are multiplied by in the boundary condition.
        strength: the share of the distilled timesteps that is chosen from, as diffusers'
            LatentConsistencyModelImg2ImgPipeline asks for it: all the steps then lie within it,
            and are visited from the first. Other pipelines leave it at 1 and begin later.
        timesteps: the timesteps to visit, descending; None to choose them.
        clip_sample: whether the denoised estimate is clipped, where it isn't thresholded.
        clip_sample_range: the largest magnitude clipping leaves.
        thresholding: whether the denoised estimate is thresholded.
        dynamic_thresholding_ratio: see `Thresholding`.
        sample_max_value: see `Thresholding`.
    """

    original_inference_steps: int = 50
    timestep_scaling: Positive = 10.0
    strength: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    timesteps: tuple[float, ...] | None = None
    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Share = 0.995
    sample_max_value: Positive = 1.0
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "LCMScheduler"
    OPTIONS: ClassVar[Options] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "original_inference_steps": 50,
        "timestep_scaling": 10.0,
        "clip_sample": (False, True),
        "clip_sample_range": 1.0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False, True),
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        # Fields of the class that it does nothing with.
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "leading",
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls. The last step ends without noise."""
        timesteps = distilled_timesteps(
            schedule,
            num_inference_steps,
            self.original_inference_steps,
            self.strength,
            self.timesteps,
        )
        return (*(schedule.level(timestep) for timestep in timesteps), Level(1, 0, 0))

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
        """See `Sampler.sample`; draws noise at every step but the last."""
        total = len(levels) - 1
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            x = self._consistent(x, bounded(denoised, self), level)
            if index + 1 < total:
                x = target.alpha * x + target.sigma * noise.randn(x.shape)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _consistent(self, x: Latents, denoised: Latents, level: Level) -> Latents:
        """Equation 9: what leaves x as it is at timestep 0."""
        timestep = level.timestep * self.timestep_scaling
        scale = math.hypot(timestep, SIGMA_DATA)
        return (timestep / scale) * denoised + (SIGMA_DATA / scale) ** 2 * x
