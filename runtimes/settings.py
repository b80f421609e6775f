"""What a call of the pipeline was asked for: what decides its pictures, apart from the bundle."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the pictures of one call, apart from the bundle.

    Attributes:
        prompt: one or more texts; every one gives `num_images_per_prompt` pictures.
        negative_prompt: as many texts as `prompt`; what guidance leads away from.
        num_inference_steps: steps of the sampler, 1 to 1000.
        guidance_scale: classifier-free guidance; 1 or less turns it off.
        seed: of the noise, -2^63 to 2^64-1.
        sampler: a name of `runtimes.samplers.sampler_names`.
        karras: whether Karras' noise levels are used.
        height: in pixels.
        width: in pixels.
        num_images_per_prompt: pictures of each prompt.
        task: a name of `runtimes.tasks.TASKS`.
        vae_tile: pixels of the tiles' side in which the VAE works; None for the automatic one.
        noise_level: training timestep of the noise that upscaling adds to its picture.
    """

    prompt: tuple[str, ...]
    negative_prompt: tuple[str, ...]
    num_inference_steps: int
    guidance_scale: float
    seed: int
    sampler: str
    karras: bool
    height: int
    width: int
    num_images_per_prompt: int
    task: str = "text-to-image"
    vae_tile: int | None = None
    noise_level: int | None = None

    @property
    def guided(self) -> bool:
        """Whether the negative prompt plays a part: as in diffusers, from above 1."""
        return self.guidance_scale > 1

    @property
    def count(self) -> int:
        """How many pictures are made."""
        return len(self.prompt) * self.num_images_per_prompt
