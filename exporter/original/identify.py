"""What a .safetensors file is, from its keys and shapes, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.original.parts import LABELS, TEXT_PREFIXES, UNET, VAE
from exporter.weights import Tensor

Tensors = Mapping[str, Tensor]

CHECKPOINT = "checkpoint"
VAE_ALONE = "vae"
TEXT_ALONE = "text_encoder"
OTHER = "other"


@dataclass(frozen=True)
class Identity:
    """What a file seems to be.

    Attributes:
        kind: `CHECKPOINT` (of Stable Diffusion 1, 2 or XL), `VAE_ALONE`, `TEXT_ALONE` or `OTHER`.
        title: in words, such as "a LoRA".
        reason: the key or shape that decided.
    """

    kind: str
    title: str
    reason: str


def identify(tensors: Tensors) -> Identity:
    """Says what a file is; the first row of `_RULES` that holds decides."""
    if not tensors:
        return Identity(OTHER, "empty", "it holds no tensors")
    for kind, title, rule in _RULES:
        reason = rule(tensors)
        if reason is not None:
            return Identity(kind, title, reason)
    shown = ", ".join(sorted(tensors)[:3])
    return Identity(OTHER, "nothing that is known", f"keys such as {shown}")


Rule = Callable[[Tensors], str | None]
"""Gives the reason why a file is of a kind, or None where it isn't."""


def _keys(pattern: str) -> Rule:
    compiled = re.compile(pattern)

    def rule(tensors: Tensors) -> str | None:
        return next((key for key in tensors if compiled.search(key)), None)

    return rule


def _shape(pattern: str, axis: int, sizes: tuple[int, ...]) -> Rule:
    compiled = re.compile(pattern)

    def rule(tensors: Tensors) -> str | None:
        for key, tensor in tensors.items():
            if compiled.search(key) and len(tensor.shape) > axis and tensor.shape[axis] in sizes:
                return f"{key} {list(tensor.shape)}"
        return None

    return rule


def _both(first: Rule, second: Rule) -> Rule:
    def rule(tensors: Tensors) -> str | None:
        reasons = (first(tensors), second(tensors))
        return None if None in reasons else ", ".join(map(str, reasons))

    return rule


def _either(first: Rule, second: Rule) -> Rule:
    def rule(tensors: Tensors) -> str | None:
        return first(tensors) or second(tensors)

    return rule


def _embedding(tensors: Tensors) -> str | None:
    """A few vectors as wide as a text encoder, and nothing else."""
    named = {"emb_params", "string_to_param.*", "clip_l", "clip_g"} & tensors.keys()
    if named:
        return min(named)
    if len(tensors) == 1:
        key, tensor = next(iter(tensors.items()))
        if len(tensor.shape) <= 2 and tensor.shape[-1:] in {(768,), (1024,), (1280,)}:
            return f"{key} {list(tensor.shape)} alone"
    return None


_IN = re.escape(UNET)
_CONV_IN = rf"^{_IN}input_blocks\.0\.0\.weight$"
_TEXT_KEYS = rf"^{_IN}.*attn2\.to_k\.weight$"
_XL_WIDTHS = (1280, 2048)
"""Of the text that the U-Nets of SDXL's refiner and base take."""

_TEXT_ANYWHERE = "|".join(map(re.escape, TEXT_PREFIXES))

_RULES: tuple[tuple[str, str, Rule], ...] = (
    (
        OTHER,
        "a LoRA (an adapter, not a model)",
        _keys(
            r"^lora_(unet|te\d?|transformer)_|\.lora_(up|down|A|B|a|b)\b|[._]lora\.(up|down)\.|"
            r"\.lora_linear_layer\.(up|down)\.|"
            r"\.(hada_w1_a|lokr_w1|lokr_w1_a|oft_blocks|lora_magnitude_vector)"
        ),
    ),
    (OTHER, "an IP-Adapter, not a model of its own", _keys(r"^(ip_adapter|image_proj)\.")),
    (OTHER, "a textual-inversion embedding, not a model", _embedding),
    (
        OTHER,
        "a quantised model; give the fp16, bf16 or fp32 one",
        _keys(
            r"\.(absmax|quant_map|quant_state\.\w+|SCB|qweight|weight_scale|comfy_quant)$|^scaled_fp8$"
        ),
    ),
    (
        OTHER,
        "a ControlNet, not a model of its own",
        _keys(
            r"^(control_model\.)?(zero_convs|input_hint_block)\.|^controlnet_(cond|down|mid)_|^control_model\."
        ),
    ),
    (OTHER, "a motion module (AnimateDiff)", _keys(r"\bmotion_modules\.")),
    (
        OTHER,
        "Stable Diffusion 3",
        _keys(r"(^|\.)joint_blocks\.\d|^transformer_blocks\.\d+\.attn\.add_q_proj"),
    ),
    (OTHER, "Flux", _keys(r"(^|\.)(double_blocks|single_transformer_blocks)\.\d")),
    (
        OTHER,
        "a model of another noise law (EDM), such as CosXL or Playground 2.5",
        _keys(r"^edm_(mean|std)$|^edm_vpred\."),
    ),
    (
        CHECKPOINT,
        "a checkpoint of Stable Diffusion XL",
        _both(
            _keys(rf"^{re.escape(LABELS)}$"),
            _either(_keys(r"^conditioner\."), _shape(_TEXT_KEYS, 1, _XL_WIDTHS)),
        ),
    ),
    (
        OTHER,
        "Stable Diffusion's ×4 upscaler",
        _both(_keys(rf"^{_IN}label_emb\."), _shape(_CONV_IN, 1, (7,))),
    ),
    (OTHER, "Stable unCLIP, or another model with class embeddings", _keys(rf"^{_IN}label_emb\.")),
    (CHECKPOINT, "a checkpoint of Stable Diffusion 1 or 2", _keys(_CONV_IN)),
    (
        CHECKPOINT,
        "a checkpoint of Stable Diffusion 1 or 2",
        _keys(rf"^{_IN}(input|output)_blocks\."),
    ),
    (
        OTHER,
        "a U-Net alone in Diffusers naming; give the Diffusers folder around it",
        _keys(r"^(unet\.)?(down_blocks|mid_block)\."),
    ),
    (
        OTHER,
        "a U-Net alone without its prefix; give the whole checkpoint",
        _keys(r"^(input|output)_blocks\.\d+\."),
    ),
    (
        OTHER,
        "an image upscaler (ESRGAN)",
        _keys(r"^(body\.\d+\.rdb1|conv_first|model\.1\.sub\.0)\."),
    ),
    (
        VAE_ALONE,
        "a VAE alone",
        _keys(rf"^({re.escape(VAE)})?(encoder|decoder)\.(conv_in|mid_block|mid|up|down)\b"),
    ),
    (OTHER, "a T5 text encoder alone", _keys(r"(^|\.)encoder\.block\.0\.layer\.0\.SelfAttention")),
    (
        TEXT_ALONE,
        "a CLIP text encoder alone",
        _keys(
            rf"^({_TEXT_ANYWHERE})?"
            r"((text_model\.)?embeddings\.token_embedding|token_embedding|transformer\.resblocks)\."
        ),
    ),
)
"""Kind, title and rule, the most specific first."""
