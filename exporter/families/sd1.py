"""Stable Diffusion 1.x: one CLIP text encoder, a U-Net whose attention projects by convolution."""

from __future__ import annotations

from exporter.components.base import Config
from exporter.families.table import Family


def _matches(unet: Config) -> bool:
    return not unet.get("use_linear_projection", False)


SD1 = Family(
    name="sd1",
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    components=("text_encoder", "unet", "vae_decoder", "vae_encoder"),
    tokenizers={"text_encoder": "tokenizer"},
    tasks={4: ("text-to-image", "image-to-image"), 9: ("inpainting",)},
    guidance_scale=7.5,
    num_inference_steps=20,
    matches=_matches,
)
