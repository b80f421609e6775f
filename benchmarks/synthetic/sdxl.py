"""The rows of Stable Diffusion XL: base, refiner, distilled and pruned models, and tiny twins.

Pruned models name the layers of their transformers one by one: `transformer_layers_per_block` on
the way down, `reverse_transformer_layers_per_block` on the way up.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.synthetic.parts import (
    CLIP_SIZE,
    CLIP_TOKENIZER,
    CLIP_VIT_L,
    EULER,
    EULER_A,
    LCM,
    OPENCLIP_VIT_BIGG,
    SD_VAE,
    TINY_CLIP,
    TINY_GROUPS,
    TINY_SIZE,
    TINY_TOKENIZER,
    TINY_VAE,
    TURBO,
    Config,
    Model,
    Network,
    Tokenizer,
    vae_config,
)

_BASE_UNET: Config = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_REFINER_UNET: Config = {
    **_BASE_UNET,
    "block_out_channels": (384, 768, 1536, 1536),
    "down_block_types": (
        "DownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24),
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}
_SSD_1B: Config = {
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": (1, (2, 2), (4, 4)),
    "reverse_transformer_layers_per_block": ((4, 4, 10), (2, 1, 1), 1),
}
_VEGA: Config = {
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": (1, (1, 1), (2, 2)),
    "reverse_transformer_layers_per_block": ((2, 2, 2), (1, 1, 1), 1),
}
# force_upcast stays diffusers' own default, true: what these models' files say.
_VAE: Config = {**vae_config(1024, SD_VAE, 2), "scaling_factor": 0.13025}

_TINY_CLIP_2: Config = {
    **TINY_CLIP,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "projection_dim": 40,
    "hidden_act": "gelu",
}
_TINY_UNET: Config = {
    "norm_num_groups": TINY_GROUPS,
    "sample_size": 16,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 4),
    "cross_attention_dim": 32 + 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": 40 + 6 * 16,
}
_TINY_REFINER_UNET: Config = {
    **_TINY_UNET,
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": _REFINER_UNET["down_block_types"],
    "up_block_types": _REFINER_UNET["up_block_types"],
    "transformer_layers_per_block": 1,
    "attention_head_dim": (2, 4, 4, 4),
    "cross_attention_dim": 48,
    "projection_class_embeddings_input_dim": 40 + 5 * 16,
}
_TINY_SSD: Config = {
    "layers_per_block": 2,
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": (1, (1, 1), (2, 1)),
    "reverse_transformer_layers_per_block": ((1, 2, 1), (1, 1, 1), 1),
}
_SMALL_CLIP: Config = {**CLIP_VIT_L, "num_hidden_layers": 4}
_SMALL_CLIP_2: Config = {**OPENCLIP_VIT_BIGG, "num_hidden_layers": 4}
_SMALL_UNET: Config = {
    **_BASE_UNET,
    "sample_size": 64,
    "block_out_channels": (128, 256, 512),
    "transformer_layers_per_block": (1, 1, 3),
    "attention_head_dim": (2, 4, 8),
}

_BASE: Config = {
    "feature_extractor": (None, None),
    "force_zeros_for_empty_prompt": True,
    "image_encoder": (None, None),
}
_REFINER: Config = {
    **_BASE,
    "force_zeros_for_empty_prompt": False,
    "requires_aesthetics_score": True,
    "text_encoder": (None, None),
    "tokenizer": (None, None),
}


def _sdxl(
    title: str,
    *,
    unet: Config,
    vae: Config = _VAE,
    text_encoder: Config | None = CLIP_VIT_L,
    text_encoder_2: Config = OPENCLIP_VIT_BIGG,
    tokens: int = CLIP_SIZE,
    scheduler: tuple[str, Config] = EULER,
    pipeline: str = "StableDiffusionXLPipeline",
    others: Config = _BASE,
) -> Model:
    """A row; without a first text encoder, that of a refiner."""
    first = CLIP_TOKENIZER if tokens == CLIP_SIZE else TINY_TOKENIZER
    one = text_encoder is None
    return Model(
        title=title,
        pipeline=pipeline,
        networks={
            **({} if one else {"text_encoder": _clip("CLIPTextModel", text_encoder)}),
            "text_encoder_2": _clip("CLIPTextModelWithProjection", text_encoder_2),
            "unet": Network("diffusers", "UNet2DConditionModel", unet),
            "vae": Network("diffusers", "AutoencoderKL", vae),
        },
        tokenizers={
            **({} if one else {"tokenizer": first}),
            "tokenizer_2": Tokenizer(tokens, "!"),
        },
        scheduler=scheduler,
        others=others,
    )


def _clip(class_name: str, config: Config) -> Network:
    return Network("transformers", class_name, config)


def _tiny(
    title: str,
    unet: Config,
    *,
    text_encoder: Config | None = TINY_CLIP,
    scheduler: tuple[str, Config] = EULER,
    pipeline: str = "StableDiffusionXLPipeline",
    others: Config = _BASE,
) -> Model:
    return _sdxl(
        f"the parts of {title}, few and narrow",
        unet={**_TINY_UNET, **unet},
        vae={**TINY_VAE, "scaling_factor": 0.13025},
        text_encoder=text_encoder,
        text_encoder_2=_TINY_CLIP_2,
        tokens=TINY_SIZE,
        scheduler=scheduler,
        pipeline=pipeline,
        others=others,
    )


_IMG2IMG = "StableDiffusionXLImg2ImgPipeline"
_INPAINT = "StableDiffusionXLInpaintPipeline"
_INSTRUCT = "StableDiffusionXLInstructPix2PixPipeline"

SDXL_MODELS: Mapping[str, Model] = {
    "sdxl": _sdxl("Stable Diffusion XL, base", unet=_BASE_UNET),
    "sdxl-refiner": _sdxl(
        "Stable Diffusion XL, refiner",
        unet=_REFINER_UNET,
        text_encoder=None,
        pipeline=_IMG2IMG,
        others=_REFINER,
    ),
    "sdxl-inpaint": _sdxl(
        "Stable Diffusion XL inpainting",
        unet={**_BASE_UNET, "in_channels": 9},
        pipeline=_INPAINT,
        others={**_BASE, "requires_aesthetics_score": False},
    ),
    "sdxl-ip2p": _sdxl(
        "InstructPix2Pix, of Stable Diffusion XL",
        unet={**_BASE_UNET, "in_channels": 8},
        pipeline=_INSTRUCT,
    ),
    "sdxl-turbo": _sdxl(
        "SDXL-Turbo: distilled to one step without guidance",
        unet={**_BASE_UNET, "sample_size": 64},
        scheduler=TURBO,
    ),
    "lcm-sdxl": _sdxl(
        "a latent consistency model of Stable Diffusion XL: it is told the guidance scale",
        unet={**_BASE_UNET, "time_cond_proj_dim": 256},
        scheduler=LCM,
    ),
    "ssd-1b": _sdxl("SSD-1B: half of SDXL's blocks", unet={**_BASE_UNET, **_SSD_1B}),
    "segmind-vega": _sdxl(
        "Segmind-Vega: fewer still", unet={**_BASE_UNET, **_VEGA}, scheduler=EULER_A
    ),
    "small-sdxl": _sdxl(
        "the parts of Stable Diffusion XL, of a tenth of its size",
        unet=_SMALL_UNET,
        vae={**vae_config(512, (64, 128, 256, 256), 1), "scaling_factor": 0.13025},
        text_encoder=_SMALL_CLIP,
        text_encoder_2=_SMALL_CLIP_2,
    ),
    "tiny-sdxl": _tiny("Stable Diffusion XL", {}),
    "tiny-sdxl-refiner": _tiny(
        "Stable Diffusion XL's refiner",
        _TINY_REFINER_UNET,
        text_encoder=None,
        pipeline=_IMG2IMG,
        others=_REFINER,
    ),
    "tiny-sdxl-inpaint": _tiny(
        "Stable Diffusion XL inpainting", {"in_channels": 9}, pipeline=_INPAINT
    ),
    "tiny-sdxl-ip2p": _tiny("InstructPix2Pix for SDXL", {"in_channels": 8}, pipeline=_INSTRUCT),
    "tiny-sdxl-turbo": _tiny("SDXL-Turbo", {}, scheduler=TURBO),
    "tiny-lcm-sdxl": _tiny("LCM-SDXL", {"time_cond_proj_dim": 32}, scheduler=LCM),
    "tiny-ssd": _tiny("SSD-1B", _TINY_SSD),
}
"""Name → model. Tiny models with the same second text encoder have the same weights in it."""
