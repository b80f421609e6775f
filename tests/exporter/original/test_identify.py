"""What a file is, from its keys: each kind that is told by name, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exporter.errors import SourceError
from exporter.original.identify import CHECKPOINT, TEXT_ALONE, VAE_ALONE, identify
from exporter.source import open_source
from exporter.weights import read_header
from tests.exporter.checkpoints import write_keys

Named = Callable[[str], Path]
Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"
LABELS = f"{UNET}label_emb.0.0.weight"
TEXT = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"

OTHERS: dict[str, tuple[Shapes, str]] = {
    "kohya LoRA": ({"lora_unet_mid_block_attentions_0.lora_down.weight": (4, 320)}, "a LoRA"),
    "diffusers LoRA": ({"unet.mid_block.attn1.to_q.lora_A.weight": (4, 320)}, "a LoRA"),
    "peft LoRA": ({"base_model.model.attn1.to_q.lora_B.default.weight": (320, 4)}, "a LoRA"),
    "old LoRA": ({"mid_block.attn1.processor.to_q_lora.up.weight": (320, 4)}, "a LoRA"),
    "older LoRA": ({"unet.mid_block.attn1.to_q.lora.up.weight": (320, 4)}, "a LoRA"),
    "oldest LoRA": ({"unet.mid_block.to_q.lora_linear_layer.up.weight": (320, 4)}, "a LoRA"),
    "nothing": ({}, "empty"),
    "LoHa": ({"lora_te_x.hada_w1_a": (4, 4)}, "a LoRA"),
    "embedding": ({"emb_params": (2, 768)}, "a textual-inversion embedding"),
    "named embedding": ({"<cat>": (768,)}, "a textual-inversion embedding"),
    "SD 3": ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (9, 3)}, "Stable Diffusion 3"),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": (9, 3)}, "Flux"),
    "ControlNet": ({"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}, "a ControlNet"),
    "diffusers ControlNet": (
        {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (1,)},
        "a ControlNet",
    ),
    "upscaler": (
        {CONV_IN: (256, 7, 3, 3), f"{UNET}label_emb.weight": (1000, 1024), TEXT: (256, 1024)},
        "×4 upscaler",
    ),
    "unCLIP": ({CONV_IN: (320, 4, 3, 3), LABELS: (1280, 2048), TEXT: (320, 1024)}, "unCLIP"),
    "ControlNet of SDXL": (
        {"control_model.input_hint_block.0.weight": (16, 3, 3, 3), LABELS: (1280, 2816)},
        "a ControlNet",
    ),
    "LoRA of SDXL": (
        {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (5120, 4)},
        "a LoRA",
    ),
    "IP-Adapter": ({"image_proj.proj.weight": (8192, 1280)}, "an IP-Adapter"),
    "CosXL": (
        {"edm_vpred.sigma_max": (), LABELS: (1280, 2816), TEXT: (640, 2048)},
        "another noise law",
    ),
    "Playground 2.5": ({"edm_mean": (1, 4, 1, 1), LABELS: (1280, 2816)}, "another noise law"),
    "ESRGAN": ({"body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, "an image upscaler"),
    "motion": ({"down_blocks.0.motion_modules.0.x.weight": (3, 3)}, "a motion module"),
    "bare U-Net": ({"input_blocks.0.0.weight": (320, 4, 3, 3)}, "a U-Net alone without its prefix"),
    "U-Net alone": ({"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}, "a U-Net alone"),
    "T5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}, "a T5 text encoder"),
    "quantised": ({f"{UNET}out.2.weight.quant_map": (16,)}, "a quantised model"),
    "VAE": ({"encoder.conv_in.weight": (128, 3, 3, 3)}, "a VAE alone"),
    "text encoder": (
        {"text_model.embeddings.token_embedding.weight": (9, 4), "x": (1,)},
        "a CLIP text encoder alone",
    ),
    "anything": ({"b.weight": (1,), "a.weight": (2,)}, "nothing that is known"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_are_refused_by_what_they_seem_to_be(tmp_path: Path, case: str) -> None:
    shapes, title = OTHERS[case]
    path = write_keys(tmp_path / "m.safetensors", shapes)
    message = (
        f"is no checkpoint of Stable Diffusion 1, 2 or XL: it seems to be .*{title}.* \\(.+\\)"
    )
    with pytest.raises(SourceError, match=message) as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["small-sd15", "small-sd21", "small-sd15-inpaint", "small-sd2-depth"]
)
def test_checkpoints_and_parts_are_recognised(model: Named, checkpoint: Named, name: str) -> None:
    whole = identify(read_header(checkpoint(name)))
    assert (whole.kind, whole.reason) == (CHECKPOINT, CONV_IN)
    vae = read_header(model(name) / "vae" / "diffusion_pytorch_model.safetensors")
    assert identify(vae).kind == VAE_ALONE
    text = read_header(model(name) / "text_encoder" / "model.safetensors")
    assert identify(text).kind == TEXT_ALONE
    unet = read_header(model(name) / "unet" / "diffusion_pytorch_model.safetensors")
    assert identify(unet).title.startswith("a U-Net alone")


FIRST, SECOND = "conditioner.embedders.0.", "conditioner.embedders.1."

XL: dict[str, tuple[Shapes, str]] = {
    "base's U-Net": ({LABELS: (1280, 2816), TEXT: (640, 2048)}, f"{TEXT} [640, 2048]"),
    "refiner's U-Net": ({LABELS: (1536, 2560), TEXT: (768, 1280)}, f"{TEXT} [768, 1280]"),
    "of any width": ({LABELS: (8, 8), f"{SECOND}model.ln_final.bias": (8,)}, f"{SECOND}model."),
}


@pytest.mark.parametrize("case", XL)
def test_sdxl_is_recognised_by_its_labels_and_its_text(tmp_path: Path, case: str) -> None:
    shapes, reason = XL[case]
    path = write_keys(tmp_path / "m.safetensors", {CONV_IN: (320, 4, 3, 3), **shapes})
    found = identify(read_header(path))
    assert (found.kind, found.title) == (CHECKPOINT, "a checkpoint of Stable Diffusion XL")
    assert found.reason.startswith(f"{LABELS}, {reason}")


@pytest.mark.parametrize("prefix", ["", f"{FIRST}model.", f"{SECOND}model."])
def test_open_clip_alone_is_a_text_encoder(tmp_path: Path, prefix: str) -> None:
    shapes = {f"{prefix}token_embedding.weight": (9, 4), f"{prefix}ln_final.bias": (4,)}
    path = write_keys(tmp_path / "m.safetensors", shapes)
    assert identify(read_header(path)).kind == TEXT_ALONE
