"""Rows of the original latent diffusion models, which take no text."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.synthetic.parts import TINY_GROUPS, Config, Model, Network


def _latent_diffusion(
    title: str, pipeline: str, *, unet: Config, vqvae: Config, betas: tuple[float, float]
) -> Model:
    """A model of the first papers, which takes no text."""
    start, end = betas
    scheduler = {
        "beta_start": start,
        "beta_end": end,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "clip_sample": False,
        "trained_betas": None,
    }
    return Model(
        title=title,
        pipeline=pipeline,
        networks={
            "unet": Network("diffusers", "UNet2DModel", unet),
            "vqvae": Network("diffusers", "VQModel", vqvae),
        },
        tokenizers={},
        scheduler=("DDIMScheduler", scheduler),
        others={},
    )


_LDM_CELEBAHQ_UNET: Config = {
    "sample_size": 64,
    "attention_head_dim": 32,
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", *("AttnDownBlock2D",) * 3),
    "up_block_types": (*("AttnUpBlock2D",) * 3, "UpBlock2D"),
}
_LDM_SR_UNET: Config = {
    "sample_size": 64,
    "in_channels": 6,
    "attention_head_dim": 32,
    "block_out_channels": (160, 320, 320, 640),
    "down_block_types": (*("DownBlock2D",) * 3, "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", *("UpBlock2D",) * 3),
}
_TINY_LDM_UNET: Config = {
    "norm_num_groups": TINY_GROUPS,
    "sample_size": 16,
    "attention_head_dim": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


def _vq(sample_size: int, channels: tuple[int, ...], layers_per_block: int, size: int) -> Config:
    return {
        "sample_size": sample_size,
        "block_out_channels": channels,
        "layers_per_block": layers_per_block,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "latent_channels": 3,
        "num_vq_embeddings": size,
    }


_LDM_VQ = _vq(256, (128, 256, 512), 2, 8192)
_TINY_VQ: Config = {**_vq(64, (32, 32, 64), 1, 64), "norm_num_groups": TINY_GROUPS}

LDM_MODELS: Mapping[str, Model] = {
    "ldm": _latent_diffusion(
        "the latent diffusion model of faces, unconditional",
        "LDMPipeline",
        unet=_LDM_CELEBAHQ_UNET,
        vqvae=_LDM_VQ,
        betas=(0.0015, 0.0195),
    ),
    "ldm-super-resolution": _latent_diffusion(
        "the latent diffusion model of x4 super-resolution",
        "LDMSuperResolutionPipeline",
        unet=_LDM_SR_UNET,
        vqvae=_LDM_VQ,
        betas=(0.0015, 0.0155),
    ),
    "tiny-ldm": _latent_diffusion(
        "the parts of an unconditional latent diffusion model, few and narrow",
        "LDMPipeline",
        unet=_TINY_LDM_UNET,
        vqvae=_TINY_VQ,
        betas=(0.0015, 0.0195),
    ),
    "tiny-ldm-super-resolution": _latent_diffusion(
        "the parts of x4 super-resolution by latent diffusion, few and narrow",
        "LDMSuperResolutionPipeline",
        unet={**_TINY_LDM_UNET, "in_channels": 6},
        vqvae=_TINY_VQ,
        betas=(0.0015, 0.0155),
    ),
}
