"""Network configs read off the shapes of weights with Diffusers keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from exporter.components.base import Config
from exporter.errors import WeightError
from exporter.families.table import Unsaid
from exporter.weights import Tensor

_TEXT = "text_model."
_HEAD_WIDTH = 64
"""Of every CLIP text encoder, ViT-L's as well as ViT-H's."""


class _Shapes:
    """Shapes by key; a key that is missing is an error that names it."""

    def __init__(self, network: str, tensors: Mapping[str, Tensor]) -> None:
        self.network = network
        self.shapes = {key: tensor.shape for key, tensor in tensors.items()}

    def size(self, key: str, axis: int) -> int:
        shape = self.shapes.get(key)
        if shape is None or len(shape) <= axis:
            what = "is missing" if shape is None else f"has shape {list(shape)}"
            raise WeightError(f"{self.network}: {key} {what}; the architecture is read off it.")
        return shape[axis]

    def has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.shapes)

    def count(self, prefix: str) -> int:
        """How many numbers follow a prefix."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        return len({match[1] for match in map(pattern.match, self.shapes) if match})


def is_linear(unet: Mapping[str, Tensor]) -> bool:
    """Whether the U-Net's attention projects by a matrix (SD 2.x) or a convolution (SD 1.x)."""
    projections = [t for key, t in unet.items() if key.endswith(".proj_in.weight")]
    return bool(projections) and len(projections[0].shape) == 2


def unet_config(tensors: Mapping[str, Tensor], unsaid: Unsaid, sample_size: int) -> Config:
    """The config of a U-Net.

    Args:
        tensors: by Diffusers key.
        unsaid: what shapes don't say.
        sample_size: the latents' own size.

    Raises:
        WeightError: a weight is missing without which the architecture is not known.
    """
    shapes = _Shapes("unet", tensors)
    downs, ups = shapes.count("down_blocks."), shapes.count("up_blocks.")
    channels = [shapes.size(f"down_blocks.{n}.resnets.0.conv1.weight", 0) for n in range(downs)]
    down_attends = [shapes.has(f"down_blocks.{n}.attentions.") for n in range(downs)]
    up_attends = [shapes.has(f"up_blocks.{n}.attentions.") for n in range(ups)]
    depths = [
        max(1, shapes.count(f"down_blocks.{n}.attentions.0.transformer_blocks."))
        for n in range(downs)
    ]
    attention = next((key for key in tensors if key.endswith(".attn2.to_k.weight")), None)
    if attention is None:
        raise WeightError("unet: no attention on text (attn2.to_k.weight) is there.")
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": shapes.size("conv_in.weight", 1),
        "out_channels": shapes.size("conv_out.weight", 0),
        "down_block_types": [_block("Down", attends) for attends in down_attends],
        "up_block_types": [_block("Up", attends) for attends in up_attends],
        "block_out_channels": channels,
        "layers_per_block": [shapes.count(f"down_blocks.{n}.resnets.") for n in range(downs)],
        "transformer_layers_per_block": depths,
        "cross_attention_dim": shapes.size(attention, 1),
        "attention_head_dim": unsaid.attention_head_dim(channels),
        "use_linear_projection": is_linear(tensors),
        **unsaid.unet,
    }


def _block(direction: str, attends: bool) -> str:
    return f"{'CrossAttn' if attends else ''}{direction}Block2D"


def vae_config(tensors: Mapping[str, Tensor], sample_size: int) -> Config:
    """The config of an autoencoder; `sample_size` is the pictures' own, pixels.

    Raises:
        WeightError: a weight is missing without which the architecture is not known.
    """
    shapes = _Shapes("vae", tensors)
    levels = shapes.count("encoder.down_blocks.")
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": sample_size,
        "in_channels": shapes.size("encoder.conv_in.weight", 1),
        "out_channels": shapes.size("decoder.conv_out.weight", 0),
        "latent_channels": shapes.size("decoder.conv_in.weight", 1),
        "block_out_channels": [shapes.size(first.format(n), 0) for n in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": shapes.count("encoder.down_blocks.0.resnets."),
        "mid_block_add_attention": shapes.has("encoder.mid_block.attentions."),
        "use_quant_conv": shapes.has("quant_conv."),
        "use_post_quant_conv": shapes.has("post_quant_conv."),
        "scaling_factor": 0.18215,
    }


def text_config(tensors: Mapping[str, Tensor], unsaid: Unsaid) -> Config:
    """The config of a CLIP text encoder; keys with or without transformers' prefix.

    Raises:
        WeightError: a weight is missing without which the architecture is not known.
    """
    bare = {key.removeprefix(_TEXT): tensor for key, tensor in tensors.items()}
    shapes = _Shapes("text_encoder", bare)
    width = shapes.size("embeddings.token_embedding.weight", 1)
    return {
        "architectures": ["CLIPTextModel"],
        **unsaid.text_encoder,
        "vocab_size": shapes.size("embeddings.token_embedding.weight", 0),
        "hidden_size": width,
        "intermediate_size": shapes.size("encoder.layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": shapes.count("encoder.layers."),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": shapes.size("embeddings.position_embedding.weight", 0),
    }
