"""The original latent diffusion models that take no text: a `UNet2DModel` and a VQ autoencoder.

R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd1 import SD1


def _matches(unet: Config) -> bool:
    return unet.get("_class_name") == "UNet2DModel"


LDM = replace(
    SD1,
    name="ldm",
    pipelines=("LDMPipeline",),
    components=("unet", "vae_decoder"),
    wrappers={"unet": "unet_2d"},
    tokenizers={},
    tasks={channels: ("unconditional",) for channels in (3, 4)},
    guidance_scale=1.0,
    num_inference_steps=50,
    matches=_matches,
    index={},
    unsaid=replace(SD1.unsaid, title="an unconditional latent diffusion model"),
)

# The U-Net sees the small picture beside the latents of the large one, which are of its size.
# diffusers' pipeline decodes them as they are, whatever factor the autoencoder's config has.
LDM_SUPER_RESOLUTION = replace(
    LDM,
    name="ldm-super-resolution",
    pipelines=("LDMSuperResolutionPipeline",),
    tasks={channels: ("super-resolution",) for channels in (6, 8)},
    num_inference_steps=100,
    scaling_factor=1.0,
    unsaid=replace(SD1.unsaid, title="the super-resolution latent diffusion model"),
)
