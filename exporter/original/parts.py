"""Takes a checkpoint apart: which of its tensors are whose, under Diffusers keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.errors import WeightError
from exporter.original.text_encoder import HEADS, rename_text
from exporter.original.unet import rename_unet
from exporter.original.vae import POINTWISE, rename_vae
from exporter.weights import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."

_LEFTOVERS = re.compile(
    # averaged copies, and networks of the training alone
    r"(first_stage_model\.)?(model_ema|loss)\.|embedding_manager\."
    # the noise schedule, which the scheduler's config has
    r"|(betas|(sqrt_)?alphas_cumprod(_prev)?|(sqrt|log)_one_minus_alphas_cumprod"
    r"|sqrt_recip(m1)?_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])"
    r"|logvar|lvlb_weights|denoiser\.sigmas|scale_factor|global_step)$"
    # marks that say what the U-Net predicts
    r"|(v_pred|ztsnr)$"
    r"|cond_stage_model\.(logit_scale|text_projection)$"
)
_CLIP_HEADS = re.compile(r"(text_model\.)?(text_projection\.weight|logit_scale)$")
_SHOWN = 5


@dataclass(frozen=True)
class Parts:
    """A checkpoint's tensors by network, under Diffusers keys.

    Attributes:
        networks: folder of a Diffusers model → key → tensor.
        naming: folder → how the file names that network's weights.
        unused: keys that nothing needs.
    """

    networks: Mapping[str, Mapping[str, Tensor]]
    naming: Mapping[str, str]
    unused: tuple[str, ...]


@dataclass
class _Sorting:
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict[str, dict[str, Tensor]])
    naming: dict[str, str] = field(default_factory=dict[str, str])
    unused: list[str] = field(default_factory=list[str])
    unknown: list[str] = field(default_factory=list[str])


def take_apart(path: Path, tensors: Mapping[str, Tensor]) -> Parts:
    """Sorts a checkpoint's tensors by network and renames them.

    Raises:
        WeightError: a key is neither a network's nor a known leftover of training; names it.
    """
    sorting = _Sorting()
    rest = dict(tensors)
    for key in [key for key in rest if _LEFTOVERS.match(key)]:
        sorting.unused.append(key)
        del rest[key]
    _sort_convolutional(sorting, "unet", UNET, _take(rest, UNET), rename_unet)
    _sort_convolutional(sorting, "vae", VAE, _take(rest, VAE), rename_vae)
    _sort_text(sorting, _take(rest, CLIP), _take(rest, OPEN_CLIP))
    sorting.unknown += rest
    if sorting.unknown:
        raise WeightError(
            f"{path}: {count('unknown weight', sorting.unknown)}. They belong to none of U-Net, "
            "VAE and text encoder of Stable Diffusion 1 or 2."
        )
    return Parts(sorting.networks, sorting.naming, tuple(sorting.unused))


def network_alone(path: Path, folder: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """One network of a file that holds it alone, with or without its prefix, or with others.

    Args:
        path: the file.
        folder: "vae" or "text_encoder".
        tensors: of the file, in original naming or transformers' own.

    Raises:
        WeightError: a key is unknown; names it.
    """
    if any(key.startswith((UNET, VAE, CLIP, OPEN_CLIP)) for key in tensors):
        return take_apart(path, tensors).networks[folder]
    prefix = VAE if folder == "vae" else OPEN_CLIP if "positional_embedding" in tensors else CLIP
    parts = take_apart(path, {prefix + key: tensor for key, tensor in tensors.items()})
    return parts.networks[folder]


def count(kind: str, names: Iterable[str]) -> str:
    """Names in words: `3 unknown weights: a, b, c`, the first few of many."""
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{len(listed)} {kind}{'s' * (len(listed) > 1)}: {', '.join(listed[:_SHOWN])}{more}"


def _take(rest: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Moves what begins with a prefix out of `rest`, without the prefix."""
    keys = [key for key in rest if key.startswith(prefix)]
    return {key.removeprefix(prefix): rest.pop(key) for key in keys}


def _sort_convolutional(
    sorting: _Sorting,
    folder: str,
    prefix: str,
    tensors: Mapping[str, Tensor],
    rename: Callable[[Iterable[str]], Mapping[str, str | None]],
) -> None:
    names = rename(tensors)
    found = {new: _as_matrix(new, tensors[old]) for old, new in names.items() if new is not None}
    sorting.unknown += [prefix + old for old, new in names.items() if new is None]
    if found:
        sorting.networks[folder] = found
        sorting.naming[folder] = f"original, {prefix}*"


def _as_matrix(key: str, tensor: Tensor) -> Tensor:
    """A 1×1 convolution's weight as the matrix that Diffusers has: the same bytes."""
    if POINTWISE.search(key) and tensor.shape[2:] == (1, 1):
        return replace(tensor, shape=tensor.shape[:2])
    return tensor


def _sort_text(
    sorting: _Sorting, clip: Mapping[str, Tensor], open_clip: Mapping[str, Tensor]
) -> None:
    heads = [key for key in clip if _CLIP_HEADS.match(key)]
    sorting.unused += [CLIP + key for key in heads]
    own = {key: tensor for key, tensor in clip.items() if key not in heads}
    if own:
        sorting.naming["text_encoder"] = f"transformers, {CLIP}*"
    if open_clip.keys() - set(HEADS):
        found, unused, unknown = rename_text(open_clip)
        own |= found
        sorting.unused += [OPEN_CLIP + key for key in unused]
        sorting.unknown += [OPEN_CLIP + key for key in unknown]
        sorting.naming["text_encoder"] = f"OpenCLIP, {OPEN_CLIP}*"
    if own:
        sorting.networks["text_encoder"] = own
