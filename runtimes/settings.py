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
        guidance_scale: classifier-free guidance; 1 and 0 turn it off.
        seed: of the noise, -2^63 to 2^64-1.
        sampler: a name of `runtimes.samplers.sampler_names`.
        height: in pixels.
        width: in pixels.
        num_images_per_prompt: pictures of each prompt.
        task: a name of `runtimes.tasks.TASKS`.
        strength: how much of a given picture is changed, 0 to 1: the share of the steps that are
            made; None for tasks that begin with noise.
        mask_blur: pixels by which the mask is softened: the radius of Pillow's GaussianBlur.
        padding_mask_crop: pixels around the mask that are painted with it, at the size that is
            asked for, the rest being kept; None paints the whole picture.
        variation_seed: whose noise is mixed into the seed's; None for none.
        variation_strength: from 0, the noise of `seed`, to 1, that of `variation_seed`.
        input_sha256: of what was given beside the settings, by argument: the pixels of "image",
            "mask_image" and "depth_map", the values of "latents" and "image_latents" in float32.
        vae_tile: pixels of the tiles' side in which the VAE works; None for the automatic one.
        guidance_rescale: how far guided outputs are brought to the conditional ones' standard
            deviation, 0 to 1.
        guidance_interval: where guidance starts and stops, as fractions of the calls made.
        guidance_embedded: whether the U-Net is told the guidance scale, and guides itself.
        perp_neg: whether negative prompts lead away only from what is no part of the prompt.
        negative_weight: how far they do, beside the prompt; of `perp_neg`.
        prompt_syntax: a name of `runtimes.prompts.SYNTAXES`.
        long_prompts: a name of `runtimes.prompts.LONG_PROMPTS`.
        clip_skip: layers of the text encoder that are left out, as diffusers counts them.
        embeddings_sha256: of the prompt embeddings that were given in place of texts, hex; None
            where there were none.
        noise_level: training timestep of the noise that upscaling adds to its picture.
        schedule: a name of `runtimes.samplers.choice.SCHEDULES`; None where sigmas or timesteps are
            given.
        spacing: which timesteps the schedule spreads; None where they are no spread, or the
            sampler has its own.
        sigmas: as given, of all steps and of where the last one ends.
        timesteps: as given, of all steps.
        sampler_options: as given, over the scheduler config.
        prompt_2: what a second text encoder reads in place of `prompt`; None for the same.
        negative_prompt_2: likewise in place of `negative_prompt`.
        zero_negative: whether zeros stand for the embeddings of negative and empty prompts.
        original_size: height and width in pixels, of SDXL's micro-conditioning as all that follow;
            None for other models.
        crops_coords_top_left: top and left in pixels.
        target_size: height and width in pixels.
        aesthetic_score: 0 to 10, of refiners; None for others.
        negative_original_size: of the branch of negative prompts, as all that follow.
        negative_crops_coords_top_left: likewise.
        negative_target_size: likewise.
        negative_aesthetic_score: likewise.
        denoising_end: the share of the noise schedule after which sampling stops; None for all.
        denoising_start: the share of the noise schedule that was sampled already; None for none.
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
