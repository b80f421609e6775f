"""What rows of models are made of: their columns, and configs that several models share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Config = Mapping[str, object]


@dataclass(frozen=True)
class Network:
    """A network of the pipeline.

    Attributes:
        library: the module that has the class: "diffusers" or "transformers".
        class_name: the class, as model_index.json names it.
        config: what departs from the class's defaults.
    """

    library: str
    class_name: str
    config: Config


@dataclass(frozen=True)
class Tokenizer:
    """A CLIP tokenizer.

    Attributes:
        size: number of tokens.
        pad_token: the token that fills up to 77.
    """

    size: int
    pad_token: str


@dataclass(frozen=True)
class Model:
    """A pipeline to make.

    Attributes:
        title: what it stands for.
        pipeline: the pipeline's class in diffusers.
        networks: folder → network.
        tokenizers: folder → tokenizer.
        scheduler: class name and config.
        others: further entries of model_index.json.
        low_res_scheduler: that of an upscaler's picture, class name and config; None for others.
    """

    title: str
    pipeline: str
    networks: Mapping[str, Network]
    tokenizers: Mapping[str, Tokenizer]
    scheduler: tuple[str, Config]
    others: Config
    low_res_scheduler: tuple[str, Config] | None = None


END_OF_TEXT = "<|endoftext|>"
CLIP_SIZE = 49408
TINY_SIZE = 1000

SD_BETAS: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "trained_betas": None,
    # clip_sample is not PNDM's, skip_prk_steps not DDIM's, but public models have both in either's
    # file: the other class that is made from it takes its own.
    "clip_sample": False,
    "skip_prk_steps": True,
}
PNDM = ("PNDMScheduler", SD_BETAS)
DDIM = ("DDIMScheduler", SD_BETAS)
DDIM_V = ("DDIMScheduler", {**SD_BETAS, "prediction_type": "v_prediction"})
LCM = ("LCMScheduler", {**SD_BETAS, "original_inference_steps": 50})
EULER = ("EulerDiscreteScheduler", {**SD_BETAS, "timestep_spacing": "leading"})
EULER_A = ("EulerAncestralDiscreteScheduler", SD_BETAS)
TURBO = ("EulerAncestralDiscreteScheduler", {**SD_BETAS, "timestep_spacing": "trailing"})

# eos_token_id 2 is what both models ship: it makes transformers pool at the largest id.
CLIP_IDS: Config = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}

CLIP_VIT_L: Config = {
    **CLIP_IDS,
    "vocab_size": CLIP_SIZE,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
# SD 2.x leaves out the 24th layer of OpenCLIP ViT-H: its last hidden state is the penultimate one.
OPENCLIP_VIT_H: Config = {
    **CLIP_IDS,
    "vocab_size": CLIP_SIZE,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
OPENCLIP_VIT_BIGG: Config = {
    **CLIP_IDS,
    "vocab_size": CLIP_SIZE,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
TINY_CLIP: Config = {
    **CLIP_IDS,
    "vocab_size": TINY_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
    "hidden_act": "quick_gelu",
}

# Four channels a group at least: with one, as 32 groups of 32 channels, the norm would hide every
# bias before it, and the timestep with it.
TINY_GROUPS = 8

TINY_UNET: Config = {
    "norm_num_groups": TINY_GROUPS,
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
    "cross_attention_dim": 32,
}


def vae_config(sample_size: int, channels: tuple[int, ...], layers_per_block: int) -> Config:
    """An `AutoencoderKL`; its factor is 2 for each level but the first."""
    return {
        "sample_size": sample_size,
        "block_out_channels": channels,
        "layers_per_block": layers_per_block,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    }


CLIP_TOKENIZER = Tokenizer(CLIP_SIZE, END_OF_TEXT)
TINY_TOKENIZER = Tokenizer(TINY_SIZE, END_OF_TEXT)
SD_VAE = (128, 256, 512, 512)
TINY_VAE: Config = {**vae_config(128, (32, 32, 64, 64), 1), "norm_num_groups": TINY_GROUPS}
