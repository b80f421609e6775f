"""Stable Diffusion 1.x: one CLIP text encoder, a U-Net whose attention projects by convolution."""

from __future__ import annotations

from exporter.components.base import Config
from exporter.families.table import Family, Unsaid, UnsaidText


def _matches(unet: Config) -> bool:
    return not unet.get("use_linear_projection", False)


BETAS: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "trained_betas": None,
}

# The first two ids are leftovers that public configs carry; the tokenizer gives the end's.
CLIP_IDS: Config = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}

CLIP_VIT_L = UnsaidText(
    config={**CLIP_IDS, "hidden_act": "quick_gelu", "projection_dim": 768},
    pad_token="<|endoftext|>",
)

_UNSAID = Unsaid(
    title="Stable Diffusion 1.x",
    pipelines={
        4: "StableDiffusionPipeline",
        8: "StableDiffusionInstructPix2PixPipeline",
        9: "StableDiffusionInpaintPipeline",
    },
    attention_head_dim=lambda _channels: 8,  # diffusers' name for the number of heads
    unet={},
    vae={"scaling_factor": 0.18215},
    text_encoders={"text_encoder": CLIP_VIT_L},
    # clip_sample and skip_prk_steps as public models have them, whichever class reads the file.
    scheduler={
        "_class_name": "PNDMScheduler",
        **BETAS,
        "clip_sample": False,
        "skip_prk_steps": True,
    },
    prediction_type="epsilon",
    sample_sizes={"epsilon": 64, "v_prediction": 64},
)

SD1 = Family(
    name="sd1",
    pipelines=(
        "StableDiffusionPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "LatentConsistencyModelPipeline",
    ),
    components=("text_encoder", "unet", "vae_decoder", "vae_encoder"),
    tokenizers={"text_encoder": "tokenizer"},
    tasks={
        4: ("text-to-image", "image-to-image", "inpainting"),
        8: ("instruct-pix2pix",),
        9: ("inpainting",),
    },
    guidance_scale=7.5,
    num_inference_steps=20,
    matches=_matches,
    unsaid=_UNSAID,
)
