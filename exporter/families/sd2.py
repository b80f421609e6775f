"""Stable Diffusion 2.x: OpenCLIP's text encoder, a U-Net whose attention projects linearly."""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd1 import BETAS, CLIP_IDS, SD1
from exporter.families.table import Unsaid, UnsaidText

_HEAD_WIDTH = 64


def _matches(unet: Config) -> bool:
    return bool(unet.get("use_linear_projection", False))


def heads_of_64(channels: list[int]) -> list[int]:
    """How many heads each level has; diffusers' `attention_head_dim` is their number."""
    return [max(1, width // _HEAD_WIDTH) for width in channels]


_UNSAID = Unsaid(
    title="Stable Diffusion 2.x",
    pipelines={**SD1.unsaid.pipelines, 5: "StableDiffusionDepth2ImgPipeline"},
    attention_head_dim=heads_of_64,
    unet={"upcast_attention": True},
    vae=SD1.unsaid.vae,
    text_encoders={
        "text_encoder": UnsaidText(
            config={**CLIP_IDS, "hidden_act": "gelu", "projection_dim": 512}, pad_token="!"
        )
    },
    scheduler={
        "_class_name": "DDIMScheduler",
        **BETAS,
        "clip_sample": False,
        "skip_prk_steps": True,
    },
    prediction_type=None,  # 2.0 and 2.1 come in both kinds, with the same keys and shapes
    sample_sizes={"epsilon": 64, "v_prediction": 96},
)

SD2 = replace(
    SD1,
    name="sd2",
    pipelines=(*SD1.pipelines, "StableDiffusionDepth2ImgPipeline"),
    tasks={**SD1.tasks, 5: ("depth-to-image",)},
    left_out={"depth_estimator": "depth maps are given by whoever makes pictures"},
    matches=_matches,
    unsaid=_UNSAID,
)
