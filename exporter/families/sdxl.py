"""Stable Diffusion XL: two CLIP text encoders side by side, a U-Net that is told of the picture.

D. Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis",
2023. The refiner has the second encoder alone; pruned and distilled models are of the base's
family, whatever their U-Net's layout.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd1 import BETAS, CLIP_IDS, CLIP_VIT_L, SD1
from exporter.families.sd2 import heads_of_64
from exporter.families.table import Family, UnsaidText
from exporter.source import Source

SECOND_WIDTH = 1280
"""Of the states of OpenCLIP ViT-bigG/14."""

_SECOND = UnsaidText(config={**CLIP_IDS, "hidden_act": "gelu"}, pad_token="!", projected=True)


def _matches(unet: Config) -> bool:
    return unet.get("addition_embed_type") == "text_time"


def takes_second_alone(source: Source) -> bool:
    """Whether a U-Net takes the second text encoder's states alone, as a refiner's does.

    Where no text encoder is there, that of the public models counts.
    """
    width: object = SECOND_WIDTH
    if source.has("text_encoder_2"):
        width = source.config("text_encoder_2").get("hidden_size")
    elif source.has("text_encoder"):
        return False
    return source.config("unet").get("cross_attention_dim") == width


SDXL = Family(
    name="sdxl",
    pipelines=(
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLInstructPix2PixPipeline",
    ),
    components=("text_encoder", "text_encoder_2", "unet", "vae_decoder", "vae_encoder"),
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    tasks={
        4: ("text-to-image", "image-to-image", "inpainting"),
        8: ("instruct-pix2pix",),
        9: ("inpainting",),
    },
    guidance_scale=5.0,
    num_inference_steps=50,
    matches=_matches,
    unsaid=replace(
        SD1.unsaid,
        title="Stable Diffusion XL",
        pipelines={
            4: "StableDiffusionXLPipeline",
            8: "StableDiffusionXLInstructPix2PixPipeline",
            9: "StableDiffusionXLInpaintPipeline",
        },
        attention_head_dim=heads_of_64,
        unet={"addition_embed_type": "text_time", "addition_time_embed_dim": 256},
        vae={"scaling_factor": 0.13025, "force_upcast": True},
        text_encoders={"text_encoder": CLIP_VIT_L, "text_encoder_2": _SECOND},
        scheduler={
            "_class_name": "EulerDiscreteScheduler",
            **BETAS,
            "clip_sample": False,
            "skip_prk_steps": True,
            "timestep_spacing": "leading",
        },
        sample_sizes={"epsilon": 128, "v_prediction": 128},
    ),
    index={"feature_extractor": (None, None), "image_encoder": (None, None)},
)

SDXL_REFINER = replace(
    SDXL,
    name="sdxl-refiner",
    pipelines=("StableDiffusionXLImg2ImgPipeline",),
    components=("text_encoder_2", "unet", "vae_decoder", "vae_encoder"),
    tokenizers={"text_encoder_2": "tokenizer_2"},
    tasks={4: ("image-to-image",)},
    fits=takes_second_alone,
    unsaid=replace(
        SDXL.unsaid,
        title="Stable Diffusion XL's refiner",
        pipelines={4: "StableDiffusionXLImg2ImgPipeline"},
        text_encoders={"text_encoder_2": _SECOND},
        settings={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
    ),
    index={**SDXL.index, "text_encoder": (None, None), "tokenizer": (None, None)},
)
