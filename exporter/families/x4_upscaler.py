"""The x4 upscaler of Stable Diffusion 2: a U-Net that sees the small picture beside the latents.

Its VAE has a factor of 4, so that the latents of the large picture are of the small one's size.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd2 import SD2


def _matches(unet: Config) -> bool:
    return unet.get("num_class_embeds") is not None


X4_UPSCALER = replace(
    SD2,
    name="x4-upscaler",
    pipelines=("StableDiffusionUpscalePipeline",),
    components=("text_encoder", "unet", "vae_decoder"),
    tasks={7: ("upscaling",)},
    guidance_scale=9.0,
    num_inference_steps=75,
    matches=_matches,
)
