"""Writes the shapes model as a Diffusers folder: fp16 weights, complete configs, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel

from benchmarks.shapes.vocabulary import write_tokenizer

SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
MODEL_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_model(
    folder: Path, vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel
) -> None:
    """Writes the folder, over what it held; a card beside the components is left alone.

    Args:
        folder: Where `model_index.json` goes.
        vae: Its `scaling_factor` is set.
        unet: The denoiser.
        text_encoder: Its vocabulary is `vocabulary.tokens`.
    """
    _write_json(folder / "model_index.json", MODEL_INDEX)
    _write_scheduler(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    for name, module in (("vae", vae), ("unet", unet)):
        _write_config(folder / name, module)
        _write_weights(folder / name / "diffusion_pytorch_model.safetensors", module)
    _write_text_encoder(folder / "text_encoder", text_encoder)


def _write_scheduler(folder: Path) -> None:
    config = {
        **SCHEDULE,
        "skip_prk_steps": True,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
        # Not PNDM's, but Stable Diffusion ships it: DDIM made from this file clips without it.
        "clip_sample": False,
    }
    scheduler: Any = PNDMScheduler.from_config(config)
    scheduler.save_config(folder)


def _write_config(folder: Path, module: ConfigMixin) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    module.save_config(folder)


def _write_text_encoder(folder: Path, text_encoder: CLIPTextModel) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = text_encoder.config.to_dict()
    config |= {"architectures": ["CLIPTextModel"], "dtype": "float32"}
    config.pop("_name_or_path", None)
    _write_json(folder / "config.json", config)
    # transformers >= 5.6 leaves the prefix out, and older ones then take every weight as missing.
    _write_weights(folder / "model.safetensors", text_encoder, prefix="text_model.")


def _write_weights(path: Path, module: nn.Module, prefix: str = "") -> None:
    weights = {
        (key if key.startswith(prefix) else prefix + key): value.to("cpu", torch.float16)
        for key, value in module.state_dict().items()
        if value.is_floating_point()
    }
    save_file({key: weights[key].contiguous() for key in sorted(weights)}, path, {"format": "pt"})
    # safetensors leaves the file readable by its owner alone.
    path.chmod(0o644)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )
