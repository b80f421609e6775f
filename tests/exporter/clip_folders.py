"""Small CLIP folders with random weights, as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.synthetic.vocabulary import END, write_tokenizer

VOCABULARY = 700
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": VOCABULARY - 2,
    "eos_token_id": VOCABULARY - 1,
    "pad_token_id": VOCABULARY - 1,
}
VISION: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 40,
    "patch_size": 8,
}
PIXELS: dict[str, Any] = {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}


def write_clip(folder: Path, **changes: Any) -> None:
    """Writes a CLIP of 24-dimensional embeddings.

    Args:
        folder: a new folder.
        changes: of the text encoder's config.
    """
    config = CLIPConfig(
        text_config={**TEXT, **changes}, vision_config=dict(VISION), projection_dim=24
    )
    generator = torch.Generator().manual_seed(5)
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than a fresh model's: embeddings shall depend on text and picture clearly.
            if parameter.ndim > 1:
                spread = 2.0 * parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder, VOCABULARY, END)
    write_pixels(folder, PIXELS)


def write_pixels(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the image settings."""
    text = json.dumps({"image_processor_type": "CLIPImageProcessor", **settings})
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Changes fields of a JSON file; None removes one."""
    found = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in found.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
