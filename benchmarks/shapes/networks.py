"""The shapes model's three networks: ordinary Stable Diffusion 1.x classes with small configs.

Nothing but the sizes differs from what Stable Diffusion ships, so whatever works on this model
meets the same classes, keys and options on a real one. The groups of the normalisations are the
exception: at so few channels, 32 groups would leave one to three channels each, and a group of one
has no mean left that could carry a flat colour.
"""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.shapes.latent_scale import SCALING_FACTOR

TOKENS = 77
TEXT_WIDTH = 128


VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 96),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
    "scaling_factor": SCALING_FACTOR,
}
UNET: dict[str, Any] = {
    "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (96, 160),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "cross_attention_dim": TEXT_WIDTH,
    # The number of heads, under the name that Stable Diffusion 1.x configs give it.
    "attention_head_dim": 4,
}


def vae() -> AutoencoderKL:
    """Makes the autoencoder: 64×64 pixels to 8×8 latents of 4 channels, randomly initialised."""
    return AutoencoderKL(**VAE)


def unet() -> UNet2DConditionModel:
    """Makes the denoiser, randomly initialised."""
    return UNet2DConditionModel(**UNET)


def text_encoder(vocabulary_size: int) -> CLIPTextModel:
    """Makes the text encoder, randomly initialised.

    Args:
        vocabulary_size: Number of tokens; the last two are the start and the end of a text.
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary_size - 2,
            eos_token_id=vocabulary_size - 1,
            pad_token_id=vocabulary_size - 1,
        )
    )
