"""The models that `latedge synth` can make: one row each, in the words of diffusers' configs.

To add one, add a row: its networks with the library, the class and the config of each, its
scheduler, its tokenizers. Everything that a config leaves out is the class's own default. A class
with weights of a new kind may want a line in `laws.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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

_SD_BETAS: Config = {
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
_PNDM = ("PNDMScheduler", _SD_BETAS)
_DDIM = ("DDIMScheduler", _SD_BETAS)
_DDIM_V = ("DDIMScheduler", {**_SD_BETAS, "prediction_type": "v_prediction"})

# eos_token_id 2 is what both models ship: it makes transformers pool at the largest id.
_CLIP_IDS: Config = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}

_CLIP_VIT_L: Config = {
    **_CLIP_IDS,
    "vocab_size": CLIP_SIZE,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
# SD 2.x leaves out the 24th layer of OpenCLIP ViT-H: its last hidden state is the penultimate one.
_OPENCLIP_VIT_H: Config = {
    **_CLIP_IDS,
    "vocab_size": CLIP_SIZE,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
_TINY_CLIP: Config = {
    **_CLIP_IDS,
    "vocab_size": TINY_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
    "hidden_act": "quick_gelu",
}

_SD15_UNET: Config = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
_SD21_UNET: Config = {
    "sample_size": 96,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "upcast_attention": True,
}
# Four channels a group at least: with one, as 32 groups of 32 channels, the norm would hide every
# bias before it, and the timestep with it.
_TINY_GROUPS = 8

_TINY_UNET: Config = {
    "norm_num_groups": _TINY_GROUPS,
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
    "cross_attention_dim": 32,
}
_TINY_SD21: Config = {
    "attention_head_dim": (2, 4),
    "use_linear_projection": True,
    "upcast_attention": True,
}


_SD_X4_UNET: Config = {
    "sample_size": 128,
    "in_channels": 7,
    "block_out_channels": (256, 512, 512, 1024),
    "down_block_types": (
        "DownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
    ),
    "up_block_types": (
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "UpBlock2D",
    ),
    "attention_head_dim": 8,
    "only_cross_attention": (True, True, True, False),
    "cross_attention_dim": 1024,
    "num_class_embeds": 1000,
    "use_linear_projection": True,
}
_LOW_RES = (
    "DDPMScheduler",
    {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"},
)

# The U-Net of k-diffusion's repository: adaptive group norms, Fourier features of log(sigma), a
# variance as the last channel of its output.
_TINY_K_UNET: Config = {
    "act_fn": "gelu",
    "attention_head_dim": 8,
    "block_out_channels": (32, 64, 64),
    "conv_in_kernel": 1,
    "conv_out_kernel": 1,
    "cross_attention_dim": 32,
    "down_block_types": ("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 2),
    "in_channels": 8,
    "layers_per_block": 1,
    "mid_block_type": None,
    "norm_num_groups": None,
    "out_channels": 5,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 16,
    "time_cond_proj_dim": 160,
    "time_embedding_type": "fourier",
    "timestep_post_act": "gelu",
    "up_block_types": (*("KCrossAttnUpBlock2D",) * 2, "KUpBlock2D"),
}
_EULER_X0 = (
    "EulerDiscreteScheduler",
    {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "interpolation_type": "log_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "original_sample",
        "trained_betas": None,
    },
)


def _vae(sample_size: int, channels: tuple[int, ...], layers_per_block: int) -> Config:
    return {
        "sample_size": sample_size,
        "block_out_channels": channels,
        "layers_per_block": layers_per_block,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    }


_CLIP_CHECKED: Config = {
    "feature_extractor": (None, None),
    "image_encoder": (None, None),
    "requires_safety_checker": False,
    "safety_checker": (None, None),
}
# The public model has a DPT here, which estimates depth maps. Whoever gives them needs none.
_WITHOUT_DEPTH: Config = {"depth_estimator": (None, None), "feature_extractor": (None, None)}


def _stable_diffusion(
    title: str,
    *,
    unet: Config,
    vae: Config,
    text_encoder: Config,
    tokenizer: Tokenizer,
    scheduler: tuple[str, Config],
    pipeline: str = "StableDiffusionPipeline",
    others: Config = _CLIP_CHECKED,
) -> Model:
    return Model(
        title=title,
        pipeline=pipeline,
        networks={
            "text_encoder": Network("transformers", "CLIPTextModel", text_encoder),
            "unet": Network("diffusers", "UNet2DConditionModel", unet),
            "vae": Network("diffusers", "AutoencoderKL", vae),
        },
        tokenizers={"tokenizer": tokenizer},
        scheduler=scheduler,
        others=others,
    )


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
    "norm_num_groups": _TINY_GROUPS,
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
_TINY_VQ: Config = {**_vq(64, (32, 32, 64), 1, 64), "norm_num_groups": _TINY_GROUPS}

_UPSCALER_OTHERS: Config = {
    "feature_extractor": (None, None),
    "max_noise_level": 350,
    "safety_checker": (None, None),
    "watermarker": (None, None),
}
_CLIP_TOKENIZER = Tokenizer(CLIP_SIZE, END_OF_TEXT)
_TINY_TOKENIZER = Tokenizer(TINY_SIZE, END_OF_TEXT)
_SD_VAE = (128, 256, 512, 512)
_TINY_VAE: Config = {**_vae(128, (32, 32, 64, 64), 1), "norm_num_groups": _TINY_GROUPS}

MODELS: Mapping[str, Model] = {
    "sd15": _stable_diffusion(
        "Stable Diffusion 1.5",
        unet=_SD15_UNET,
        vae=_vae(512, _SD_VAE, 2),
        text_encoder=_CLIP_VIT_L,
        tokenizer=_CLIP_TOKENIZER,
        scheduler=_PNDM,
    ),
    "sd15-inpaint": _stable_diffusion(
        "Stable Diffusion 1.5 inpainting",
        pipeline="StableDiffusionInpaintPipeline",
        unet={**_SD15_UNET, "in_channels": 9},
        vae=_vae(512, _SD_VAE, 2),
        text_encoder=_CLIP_VIT_L,
        tokenizer=_CLIP_TOKENIZER,
        scheduler=_DDIM,
    ),
    "sd21": _stable_diffusion(
        "Stable Diffusion 2.1, v-prediction",
        unet=_SD21_UNET,
        vae=_vae(768, _SD_VAE, 2),
        text_encoder=_OPENCLIP_VIT_H,
        tokenizer=Tokenizer(CLIP_SIZE, "!"),
        scheduler=_DDIM_V,
    ),
    "sd2-depth": _stable_diffusion(
        "Stable Diffusion 2, depth-conditioned, without its depth estimator",
        pipeline="StableDiffusionDepth2ImgPipeline",
        unet={**_SD21_UNET, "sample_size": 64, "in_channels": 5},
        vae=_vae(512, _SD_VAE, 2),
        text_encoder=_OPENCLIP_VIT_H,
        tokenizer=Tokenizer(CLIP_SIZE, "!"),
        scheduler=_PNDM,
        others=_WITHOUT_DEPTH,
    ),
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
    "tiny-sd15": _stable_diffusion(
        "the parts of Stable Diffusion 1.5, few and narrow",
        unet=_TINY_UNET,
        vae=_TINY_VAE,
        text_encoder=_TINY_CLIP,
        tokenizer=_TINY_TOKENIZER,
        scheduler=_PNDM,
    ),
    "tiny-sd15-inpaint": _stable_diffusion(
        "the parts of Stable Diffusion 1.5 inpainting, few and narrow",
        pipeline="StableDiffusionInpaintPipeline",
        unet={**_TINY_UNET, "in_channels": 9},
        vae=_TINY_VAE,
        text_encoder=_TINY_CLIP,
        tokenizer=_TINY_TOKENIZER,
        scheduler=_DDIM,
    ),
    "tiny-sd2-depth": _stable_diffusion(
        "the parts of Stable Diffusion 2, depth-conditioned, few and narrow",
        pipeline="StableDiffusionDepth2ImgPipeline",
        unet={**_TINY_UNET, **_TINY_SD21, "in_channels": 5},
        vae=_TINY_VAE,
        text_encoder={**_TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
        tokenizer=Tokenizer(TINY_SIZE, "!"),
        scheduler=_PNDM,
        others=_WITHOUT_DEPTH,
    ),
    "tiny-lcm": _stable_diffusion(
        "the parts of a latent consistency model, few and narrow: it is told the guidance scale",
        unet={**_TINY_UNET, "time_cond_proj_dim": 32},
        vae=_TINY_VAE,
        text_encoder=_TINY_CLIP,
        tokenizer=_TINY_TOKENIZER,
        scheduler=_DDIM,
    ),
    "tiny-sd21": _stable_diffusion(
        "the parts of Stable Diffusion 2.1, few and narrow",
        unet={**_TINY_UNET, **_TINY_SD21},
        vae=_TINY_VAE,
        text_encoder={**_TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
        tokenizer=Tokenizer(TINY_SIZE, "!"),
        scheduler=_DDIM_V,
    ),
    "x4-upscaler": replace(
        _stable_diffusion(
            "the x4 upscaler of Stable Diffusion 2, v-prediction",
            pipeline="StableDiffusionUpscalePipeline",
            unet=_SD_X4_UNET,
            vae={**_vae(256, (128, 256, 512), 2), "scaling_factor": 0.08333},
            text_encoder=_OPENCLIP_VIT_H,
            tokenizer=Tokenizer(CLIP_SIZE, "!"),
            scheduler=_DDIM_V,
        ),
        others=_UPSCALER_OTHERS,
        low_res_scheduler=_LOW_RES,
    ),
    "tiny-x2-latent-upscaler": _stable_diffusion(
        "the parts of the x2 latent upscaler, few and narrow",
        pipeline="StableDiffusionLatentUpscalePipeline",
        unet=_TINY_K_UNET,
        vae=_TINY_VAE,
        text_encoder=_TINY_CLIP,
        tokenizer=_TINY_TOKENIZER,
        scheduler=_EULER_X0,
        others={},
    ),
    "tiny-x4-upscaler": replace(
        _stable_diffusion(
            "the parts of the x4 upscaler, few and narrow",
            pipeline="StableDiffusionUpscalePipeline",
            unet={**_TINY_UNET, **_TINY_SD21, "in_channels": 7, "num_class_embeds": 1000},
            vae={
                **_vae(64, (32, 32, 64), 1),
                "norm_num_groups": _TINY_GROUPS,
                "scaling_factor": 0.08333,
            },
            text_encoder={**_TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
            tokenizer=Tokenizer(TINY_SIZE, "!"),
            scheduler=_DDIM_V,
        ),
        others=_UPSCALER_OTHERS,
        low_res_scheduler=_LOW_RES,
    ),
}
