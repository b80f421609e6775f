"""Models with another autoencoder than `AutoencoderKL`, tiny, with torch's own random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,  # pyright: ignore[reportPrivateImportUsage]
    VQModel,  # pyright: ignore[reportPrivateImportUsage]
)


def write_taesd(folder: Path) -> None:
    """A TAESD alone: four latent channels, a factor of 8, few and narrow layers."""
    torch.manual_seed(0)
    narrow: dict[str, Any] = {
        "encoder_block_out_channels": (16,) * 4,
        "decoder_block_out_channels": (16,) * 4,
        "num_encoder_blocks": (1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1),
    }
    _save(AutoencoderTiny(**narrow), folder)


def write_vq(folder: Path) -> None:
    """A VQ autoencoder alone: four latent channels, 64 vectors, a factor of 8."""
    torch.manual_seed(0)
    network: Any = VQModel(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=64,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    # torch's law is ±1/64, so that all vectors are one beside latents of order 1.
    torch.nn.init.normal_(network.quantize.embedding.weight)
    _save(network, folder)


def with_vae(model: Path, vae: Path, folder: Path) -> None:
    """A copy of a model whose VAE is another; model_index.json says so."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("vae"))
    shutil.copytree(vae, folder / "vae")
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    config: dict[str, Any] = json.loads((vae / "config.json").read_text())
    index["vae"] = ["diffusers", config["_class_name"]]
    (folder / "model_index.json").write_text(json.dumps(index))


def _save(network: Any, folder: Path) -> None:
    network.save_pretrained(folder, safe_serialization=True)
