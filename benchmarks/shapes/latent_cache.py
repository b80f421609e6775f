"""Between the stages: the training scenes as latents and token ids, so that they are made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from benchmarks.shapes.captions import brief_caption, caption
from benchmarks.shapes.generator import Scene, SceneClass, draw, scene
from benchmarks.shapes.latent_scale import SCALING_FACTOR
from benchmarks.shapes.picture_tensors import to_tensor
from benchmarks.shapes.training import (
    TrainConfig,
    Workers,
    autocast,
    load_checkpoint,
    log,
    save_checkpoint,
)
from benchmarks.shapes.vocabulary import token_ids

# Two objects are the harder class, with ten times the combinations.
COUNTS: dict[SceneClass, int] = {"single": 18_000, "pair": 42_000}
# One caption in eleven leaves things out, so that a shorter prompt works too.
BRIEF_EVERY = 11
BATCH = 100


@dataclass(frozen=True)
class LatentCache:
    """What a process trains the denoiser on: its share of the scenes.

    Attributes:
        latents: float16, shape (n, 4, 8, 8), means of the encoder's posterior, scaled.
        ids: int16, shape (n, 77), token ids of the captions.
    """

    latents: Tensor
    ids: Tensor


def latent_cache(config: TrainConfig, vae: AutoencoderKL, workers: Workers) -> LatentCache:
    """Reads a process's share from the run's folder, or makes it there."""
    path = config.run / f"latents-{workers.rank}-of-{workers.count}.pt"
    if not path.is_file():
        save_checkpoint(path, _encode(vae, config.device, workers))
    state = load_checkpoint(path)
    return LatentCache(state["latents"], state["ids"])


@torch.no_grad()
def _encode(vae: AutoencoderKL, device: str, workers: Workers) -> dict[str, Tensor]:
    latents: list[Tensor] = []
    ids: list[list[int]] = []
    for done, batch in enumerate(_batches(workers)):
        drawn = to_tensor(np.stack([draw(shown) for shown, _ in batch])).to(device)
        with autocast(device):
            encoded: Any = vae.encode(drawn)
        latents.append(encoded.latent_dist.mode().float().cpu())
        ids += [token_ids(text) for _, text in batch]
        if workers.rank == 0 and done % 25 == 0:
            log.info("encoded %d scenes", done * BATCH)
    scaled = torch.cat(latents) * SCALING_FACTOR
    return {"latents": scaled.half(), "ids": torch.tensor(ids, dtype=torch.int16)}


def _batches(workers: Workers) -> Iterator[list[tuple[Scene, str]]]:
    """A process's scenes and their captions, by the hundred."""
    for scene_class, count in COUNTS.items():
        seeds = range(workers.rank, count, workers.count)
        for first in range(0, len(seeds), BATCH):
            yield [_captioned(scene_class, seed) for seed in seeds[first : first + BATCH]]


def _captioned(scene_class: SceneClass, seed: int) -> tuple[Scene, str]:
    shown = scene(scene_class, seed)
    return shown, brief_caption(shown, seed) if seed % BRIEF_EVERY == 0 else caption(shown)
