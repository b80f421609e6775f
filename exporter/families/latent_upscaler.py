"""The x2 latent upscaler of Stable Diffusion: a U-Net of k-diffusion's that sees small latents.

Its text encoder is SD 1.x's, its autoencoder too: it works between the U-Net and the VAE decoder.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd1 import SD1


def _matches(unet: Config) -> bool:
    return unet.get("time_cond_proj_dim") is not None


LATENT_UPSCALER = replace(
    SD1,
    name="latent-upscaler",
    pipelines=("StableDiffusionLatentUpscalePipeline",),
    tasks={8: ("latent-upscaling",)},
    guidance_scale=9.0,
    num_inference_steps=75,
    predicts="k_unet",
    unused_channels=1,
    matches=_matches,
    unsaid=replace(SD1.unsaid, title="Stable Diffusion's latent upscaler"),
)
