"""Network configs read off the shapes of weights with Diffusers keys."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.components.base import Config
from exporter.errors import WeightError
from exporter.families.table import Unsaid, UnsaidText
from exporter.original.layout import block_layout
from exporter.original.shapes import Shapes
from exporter.weights import Tensor

_TEXT = "text_model."
_HEAD_WIDTH = 64
"""Of every CLIP text encoder: ViT-L's as well as ViT-H's and ViT-bigG's."""


def is_linear(unet: Mapping[str, Tensor]) -> bool:
    """Whether the U-Net's attention projects by a matrix (SD 2.x, XL) or a convolution (SD 1.x)."""
    projections = [t for key, t in unet.items() if key.endswith(".proj_in.weight")]
    return bool(projections) and len(projections[0].shape) == 2


def text_width(unet: Mapping[str, Tensor]) -> int:
    """The width of the text that a U-Net takes.

    Raises:
        WeightError: it takes none.
    """
    for key, tensor in unet.items():
        if key.endswith(".attn2.to_k.weight") and len(tensor.shape) == 2:
            return tensor.shape[1]
    raise WeightError("unet: no attention on text (attn2.to_k.weight) is there.")


def unet_config(tensors: Mapping[str, Tensor], unsaid: Unsaid, sample_size: int) -> Config:
    """The config of a U-Net.

    Args:
        tensors: by Diffusers key.
        unsaid: what shapes don't say.
        sample_size: the latents' own size.

    Raises:
        WeightError: a weight is missing without which the architecture is not known, or it is
            none that `UNet2DConditionModel` has.
    """
    shapes = Shapes("unet", tensors)
    first = "down_blocks.{}.resnets.0.conv1.weight"
    channels = [shapes.size(first.format(n), 0) for n in range(shapes.count("down_blocks."))]
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": shapes.size("conv_in.weight", 1),
        "out_channels": shapes.size("conv_out.weight", 0),
        "block_out_channels": channels,
        **block_layout(shapes),
        "cross_attention_dim": text_width(tensors),
        "attention_head_dim": unsaid.attention_head_dim(channels),
        "use_linear_projection": is_linear(tensors),
        **_added(shapes),
        **unsaid.unet,
    }


def _added(shapes: Shapes) -> Config:
    if not shapes.has("add_embedding."):
        return {}
    width = shapes.size("add_embedding.linear_1.weight", 1)
    return {"projection_class_embeddings_input_dim": width}


def vae_config(tensors: Mapping[str, Tensor], unsaid: Unsaid, sample_size: int) -> Config:
    """The config of an autoencoder.

    Args:
        tensors: by Diffusers key.
        unsaid: what shapes don't say.
        sample_size: the pictures' own, pixels.

    Raises:
        WeightError: a weight is missing without which the architecture is not known.
    """
    shapes = Shapes("vae", tensors)
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
        **unsaid.vae,
    }


def text_config(folder: str, tensors: Mapping[str, Tensor], unsaid: UnsaidText) -> Config:
    """The config of a CLIP text encoder.

    Args:
        folder: the encoder's, for messages.
        tensors: by Diffusers key, with or without transformers' prefix.
        unsaid: what shapes don't say.

    Raises:
        WeightError: a weight is missing without which the architecture is not known.
    """
    bare = {key.removeprefix(_TEXT): tensor for key, tensor in tensors.items()}
    shapes = Shapes(folder, bare)
    width = shapes.size("embeddings.token_embedding.weight", 1)
    return {
        "architectures": ["CLIPTextModel"],
        **unsaid.config,
        "vocab_size": shapes.size("embeddings.token_embedding.weight", 0),
        "hidden_size": width,
        "intermediate_size": shapes.size("encoder.layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": shapes.count("encoder.layers."),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": shapes.size("embeddings.position_embedding.weight", 0),
        **(_projected(shapes) if unsaid.projected else {}),
    }


def _projected(shapes: Shapes) -> Config:
    return {
        "architectures": ["CLIPTextModelWithProjection"],
        "projection_dim": shapes.size("text_projection.weight", 0),
    }
