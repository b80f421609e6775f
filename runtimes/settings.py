"""What a call of the pipeline was asked for: what decides its pictures, apart from the bundle."""

from __future__ import annotations

import msgspec

from runtimes.samplers.choice import ScheduleChoice


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the pictures of one call, apart from the bundle.

    Attributes: `prompt`, one or more texts; `negative_prompt`, as many; the options of
    `runtimes.options.Options`, each with the value that it has in the end, where strength is None
    for tasks that begin with noise, image_guidance_scale for all but instruct-pix2pix, schedule
    where sigmas or timesteps are given, and spacing there too and where the sampler has its own;
    and
        task: a name of `runtimes.tasks.TASKS`.
        input_sha256: of what was given beside the settings, by argument: the pixels of "image",
            "mask_image" and "depth_map", the values of "latents" and "image_latents" in float32.
        guidance_embedded: whether the U-Net is told the guidance scale, and guides itself.
        embeddings_sha256: of the prompt embeddings that were given in place of texts, hex; None
            where there were none.
        zero_negative: whether zeros stand for the embeddings of negative and empty prompts.
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
    strength: float | None = None
    mask_blur: float = 0.0
    padding_mask_crop: int | None = None
    variation_seed: int | None = None
    variation_strength: float = 0.0
    input_sha256: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    vae_tile: int | None = None
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_embedded: bool = False
    perp_neg: bool = False
    negative_weight: float = 1.0
    prompt_syntax: str = "plain"
    long_prompts: str = "truncate"
    clip_skip: int = 0
    embeddings_sha256: str | None = None
    noise_level: int | None = None
    schedule: str | None = "plain"
    spacing: str | None = None
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    sampler_options: dict[str, bool | int | float | str] = {}
    prompt_2: tuple[str, ...] | None = None
    negative_prompt_2: tuple[str, ...] | None = None
    zero_negative: bool = False
    original_size: tuple[int, int] | None = None
    crops_coords_top_left: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    aesthetic_score: float | None = None
    negative_original_size: tuple[int, int] | None = None
    negative_crops_coords_top_left: tuple[int, int] | None = None
    negative_target_size: tuple[int, int] | None = None
    negative_aesthetic_score: float | None = None
    denoising_end: float | None = None
    denoising_start: float | None = None
    refiner_start: float | None = None
    image_guidance_scale: float | None = None

    @property
    def choice(self) -> ScheduleChoice:
        """All that is said of the schedule."""
        return ScheduleChoice(
            self.schedule, self.spacing, self.sigmas, self.timesteps, self.sampler_options
        )

    @property
    def guided(self) -> bool:
        """Whether the negative prompt plays a part: as in diffusers, from above 1."""
        return self.guidance_scale > 1 and not self.guidance_embedded

    @property
    def count(self) -> int:
        """How many pictures are made."""
        return len(self.prompt) * self.num_images_per_prompt
