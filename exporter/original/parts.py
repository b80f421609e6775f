"""Takes a checkpoint apart: which of its tensors are whose, under Diffusers keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.errors import WeightError
from exporter.original.text_encoder import (
    Rename,
    rename_clip,
    rename_open_clip,
    rename_projected_clip,
    rename_projected_open_clip,
)
from exporter.original.unet import rename_unet
from exporter.original.vae import POINTWISE, rename_vae
from exporter.weights import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
LABELS = f"{UNET}label_emb.0.0.weight"
"""The first layer of what tells SDXL's U-Net of text and picture."""

_FIRST, _SECOND = "text_encoder", "text_encoder_2"
_CLIP, _OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
# In the naming of Stability AI's later code, which SDXL is in, and some of SD 1 and 2.
_EMBEDDERS = ("conditioner.embedders.0.", "conditioner.embedders.1.")

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
_SHOWN = 5


@dataclass(frozen=True)
class _Encoder:
    """A text encoder's place in a checkpoint, and what its keys become."""

    prefix: str
    folder: str
    naming: str
    rename: Rename


def _encoders(*, second: bool) -> tuple[_Encoder, ...]:
    """Where text encoders may be.

    Args:
        second: whether an OpenCLIP that comes alone is SDXL's second encoder, as in its refiner;
            otherwise it is that of SD 2.x.
    """
    first = (
        _Encoder(_CLIP, _FIRST, "transformers", rename_clip),
        _Encoder(_OPEN_CLIP, _FIRST, "OpenCLIP", rename_open_clip),
        _Encoder(f"{_EMBEDDERS[0]}transformer.", _FIRST, "transformers", rename_clip),
    )
    alone = f"{_EMBEDDERS[0]}model."
    return (
        *first,
        _Encoder(alone, _SECOND, "OpenCLIP", rename_projected_open_clip)
        if second
        else _Encoder(alone, _FIRST, "OpenCLIP", rename_open_clip),
        _Encoder(f"{_EMBEDDERS[1]}model.", _SECOND, "OpenCLIP", rename_projected_open_clip),
        _Encoder(f"{_EMBEDDERS[1]}transformer.", _SECOND, "transformers", rename_projected_clip),
    )


TEXT_PREFIXES = tuple(encoder.prefix for encoder in _encoders(second=True))
_ALONE = {
    # folder → the prefixes that bare keys get: transformers', OpenCLIP's
    _FIRST: (_CLIP, _OPEN_CLIP),
    _SECOND: (f"{_EMBEDDERS[1]}transformer.", f"{_EMBEDDERS[1]}model."),
}


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


def take_apart(path: Path, tensors: Mapping[str, Tensor], wanted: str | None = None) -> Parts:
    """Sorts a checkpoint's tensors by network and renames them.

    Args:
        path: the file.
        tensors: of the file.
        wanted: the network that is looked for, where it is one alone: a file without a U-Net
            doesn't say whose text encoder it holds.

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
    second = LABELS in tensors or any(key.startswith(_EMBEDDERS[1]) for key in tensors)
    for encoder in _encoders(second=second or wanted == _SECOND):
        _sort_text(sorting, encoder, _take(rest, encoder.prefix))
    sorting.unknown += rest
    if sorting.unknown:
        raise WeightError(
            f"{path}: {count('unknown weight', sorting.unknown)}. They belong to none of U-Net, "
            "VAE and text encoders of Stable Diffusion 1, 2 or XL."
        )
    return Parts(sorting.networks, sorting.naming, tuple(sorting.unused))


def network_alone(path: Path, folder: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """One network of a file that holds it alone, with or without its prefix, or with others.

    Args:
        path: the file.
        folder: "vae", "text_encoder" or "text_encoder_2".
        tensors: of the file, in original naming or transformers' own.

    Raises:
        WeightError: a key is unknown, or the file holds others alone; names it.
    """
    if not any(key.startswith((UNET, VAE, *TEXT_PREFIXES)) for key in tensors):
        prefix = VAE
        if folder != "vae":
            prefix = _ALONE[folder]["positional_embedding" in tensors]
        tensors = {prefix + key: tensor for key, tensor in tensors.items()}
    networks = take_apart(path, tensors, folder).networks
    if folder not in networks:
        raise WeightError(f"{path} holds {' and '.join(networks)}, and no {folder}.")
    return networks[folder]


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


def _sort_text(sorting: _Sorting, encoder: _Encoder, tensors: Mapping[str, Tensor]) -> None:
    renamed = encoder.rename(tensors)
    sorting.unused += [encoder.prefix + key for key in renamed.unused]
    sorting.unknown += [encoder.prefix + key for key in renamed.unknown]
    if not renamed.found:
        return
    if encoder.folder in sorting.networks:  # a second one in the same place
        sorting.unknown += [encoder.prefix + key for key in tensors]
        return
    sorting.networks[encoder.folder] = renamed.found
    sorting.naming[encoder.folder] = f"{encoder.naming}, {encoder.prefix}*"
