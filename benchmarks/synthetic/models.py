"""The models that `latedge synth` can make: one row each, in the words of diffusers' configs.

To add one, add a row: its networks with the library, the class and the config of each, its
scheduler, its tokenizers. Everything that a config leaves out is the class's own default. A class
with weights of a new kind may want a line in `laws.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.synthetic.ldm import LDM_MODELS
from benchmarks.synthetic.parts import (
    CLIP_SIZE,
    CLIP_TOKENIZER,
    CLIP_VIT_L,
    DDIM,
    DDIM_V,
    EULER_A,
    LCM,
    OPENCLIP_VIT_H,
    PNDM,
    SD_VAE,
    TINY_CLIP,
    TINY_GROUPS,
    TINY_SIZE,
    TINY_TOKENIZER,
    TINY_UNET,
    TINY_VAE,
    TURBO,
    Config,
    Model,
    Network,
    Tokenizer,
    vae_config,
)
from benchmarks.synthetic.sdxl import SDXL_MODELS

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


_UPSCALER_OTHERS: Config = {
    "feature_extractor": (None, None),
    "max_noise_level": 350,
    "safety_checker": (None, None),
    "watermarker": (None, None),
}
MODELS: Mapping[str, Model] = {
    "sd15": _stable_diffusion(
        "Stable Diffusion 1.5",
        unet=_SD15_UNET,
        vae=vae_config(512, SD_VAE, 2),
        text_encoder=CLIP_VIT_L,
        tokenizer=CLIP_TOKENIZER,
        scheduler=PNDM,
    ),
    "sd15-inpaint": _stable_diffusion(
        "Stable Diffusion 1.5 inpainting",
        pipeline="StableDiffusionInpaintPipeline",
        unet={**_SD15_UNET, "in_channels": 9},
        vae=vae_config(512, SD_VAE, 2),
        text_encoder=CLIP_VIT_L,
        tokenizer=CLIP_TOKENIZER,
        scheduler=DDIM,
    ),
    "lcm": _stable_diffusion(
        "a latent consistency model of Stable Diffusion 1.5: it is told the guidance scale",
        pipeline="LatentConsistencyModelPipeline",
        unet={**_SD15_UNET, "time_cond_proj_dim": 256},
        vae=vae_config(768, SD_VAE, 2),
        text_encoder=CLIP_VIT_L,
        tokenizer=CLIP_TOKENIZER,
        scheduler=LCM,
    ),
    "ip2p": _stable_diffusion(
        "InstructPix2Pix, of Stable Diffusion 1.5",
        pipeline="StableDiffusionInstructPix2PixPipeline",
        unet={**_SD15_UNET, "in_channels": 8},
        vae=vae_config(256, SD_VAE, 2),
        text_encoder=CLIP_VIT_L,
        tokenizer=CLIP_TOKENIZER,
        scheduler=EULER_A,
    ),
    "sd-turbo": _stable_diffusion(
        "SD-Turbo: Stable Diffusion 2.1 distilled to one step without guidance",
        unet={**_SD21_UNET, "sample_size": 64},
        vae=vae_config(768, SD_VAE, 2),
        text_encoder=OPENCLIP_VIT_H,
        tokenizer=Tokenizer(CLIP_SIZE, "!"),
        scheduler=TURBO,
    ),
    "sd21": _stable_diffusion(
        "Stable Diffusion 2.1, v-prediction",
        unet=_SD21_UNET,
        vae=vae_config(768, SD_VAE, 2),
        text_encoder=OPENCLIP_VIT_H,
        tokenizer=Tokenizer(CLIP_SIZE, "!"),
        scheduler=DDIM_V,
    ),
    "sd2-depth": _stable_diffusion(
        "Stable Diffusion 2, depth-conditioned, without its depth estimator",
        pipeline="StableDiffusionDepth2ImgPipeline",
        unet={**_SD21_UNET, "sample_size": 64, "in_channels": 5},
        vae=vae_config(512, SD_VAE, 2),
        text_encoder=OPENCLIP_VIT_H,
        tokenizer=Tokenizer(CLIP_SIZE, "!"),
        scheduler=PNDM,
        others=_WITHOUT_DEPTH,
    ),
    "tiny-sd15": _stable_diffusion(
        "the parts of Stable Diffusion 1.5, few and narrow",
        unet=TINY_UNET,
        vae=TINY_VAE,
        text_encoder=TINY_CLIP,
        tokenizer=TINY_TOKENIZER,
        scheduler=PNDM,
    ),
    "tiny-sd15-inpaint": _stable_diffusion(
        "the parts of Stable Diffusion 1.5 inpainting, few and narrow",
        pipeline="StableDiffusionInpaintPipeline",
        unet={**TINY_UNET, "in_channels": 9},
        vae=TINY_VAE,
        text_encoder=TINY_CLIP,
        tokenizer=TINY_TOKENIZER,
        scheduler=DDIM,
    ),
    "tiny-ip2p": _stable_diffusion(
        "the parts of InstructPix2Pix, few and narrow",
        pipeline="StableDiffusionInstructPix2PixPipeline",
        unet={**TINY_UNET, "in_channels": 8},
        vae=TINY_VAE,
        text_encoder=TINY_CLIP,
        tokenizer=TINY_TOKENIZER,
        scheduler=EULER_A,
    ),
    "tiny-sd2-depth": _stable_diffusion(
        "the parts of Stable Diffusion 2, depth-conditioned, few and narrow",
        pipeline="StableDiffusionDepth2ImgPipeline",
        unet={**TINY_UNET, **_TINY_SD21, "in_channels": 5},
        vae=TINY_VAE,
        text_encoder={**TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
        tokenizer=Tokenizer(TINY_SIZE, "!"),
        scheduler=PNDM,
        others=_WITHOUT_DEPTH,
    ),
    "tiny-lcm": _stable_diffusion(
        "the parts of a latent consistency model, few and narrow: it is told the guidance scale",
        unet={**TINY_UNET, "time_cond_proj_dim": 32},
        vae=TINY_VAE,
        text_encoder=TINY_CLIP,
        tokenizer=TINY_TOKENIZER,
        scheduler=DDIM,
    ),
    "tiny-sd21": _stable_diffusion(
        "the parts of Stable Diffusion 2.1, few and narrow",
        unet={**TINY_UNET, **_TINY_SD21},
        vae=TINY_VAE,
        text_encoder={**TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
        tokenizer=Tokenizer(TINY_SIZE, "!"),
        scheduler=DDIM_V,
    ),
    "x4-upscaler": replace(
        _stable_diffusion(
            "the x4 upscaler of Stable Diffusion 2, v-prediction",
            pipeline="StableDiffusionUpscalePipeline",
            unet=_SD_X4_UNET,
            vae={**vae_config(256, (128, 256, 512), 2), "scaling_factor": 0.08333},
            text_encoder=OPENCLIP_VIT_H,
            tokenizer=Tokenizer(CLIP_SIZE, "!"),
            scheduler=DDIM_V,
        ),
        others=_UPSCALER_OTHERS,
        low_res_scheduler=_LOW_RES,
    ),
    "tiny-x2-latent-upscaler": _stable_diffusion(
        "the parts of the x2 latent upscaler, few and narrow",
        pipeline="StableDiffusionLatentUpscalePipeline",
        unet=_TINY_K_UNET,
        vae=TINY_VAE,
        text_encoder=TINY_CLIP,
        tokenizer=TINY_TOKENIZER,
        scheduler=_EULER_X0,
        others={},
    ),
    "tiny-x4-upscaler": replace(
        _stable_diffusion(
            "the parts of the x4 upscaler, few and narrow",
            pipeline="StableDiffusionUpscalePipeline",
            unet={**TINY_UNET, **_TINY_SD21, "in_channels": 7, "num_class_embeds": 1000},
            vae={
                **vae_config(64, (32, 32, 64), 1),
                "norm_num_groups": TINY_GROUPS,
                "scaling_factor": 0.08333,
            },
            text_encoder={**TINY_CLIP, "num_hidden_layers": 3, "hidden_act": "gelu"},
            tokenizer=Tokenizer(TINY_SIZE, "!"),
            scheduler=DDIM_V,
        ),
        others=_UPSCALER_OTHERS,
        low_res_scheduler=_LOW_RES,
    ),
    **SDXL_MODELS,
    **LDM_MODELS,
}
