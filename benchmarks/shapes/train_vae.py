"""Stage one: the autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import max_pool2d

from benchmarks.shapes import networks
from benchmarks.shapes.generator import CLASSES, draw, scene
from benchmarks.shapes.latent_scale import channel_statistics, rescale
from benchmarks.shapes.picture_tensors import to_tensor
from benchmarks.shapes.training import (
    TrainConfig,
    Workers,
    autocast,
    load_checkpoint,
    save_checkpoint,
)
from benchmarks.shapes.training_loop import Loss, train

TRAINED = "vae-trained.pt"
# Light, yet enough to keep the latents near a unit scale and the decoder calm about small errors
# of the denoiser; the pictures are so plain that it costs no visible sharpness.
KL_WEIGHT = 1e-5
EDGE_WEIGHT = 0.5
MSE_WEIGHT = 2.0
OBJECT_WEIGHT = 4.0


def pictures(first_seed: int, count: int) -> Tensor:
    """Draws a batch of both classes, alternating.

    Returns:
        float32, shape (count, 3, 64, 64), from -1 to 1.
    """
    drawn = [draw(scene(CLASSES[i % 2], first_seed + i)) for i in range(count)]
    return to_tensor(np.stack(drawn))


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """L1 and squared error of the pixels, and L1 of their differences, which keeps edges crisp.

    Objects and what lies within 3 pixels of them weigh more than plain background.
    """
    on_object = (wanted - wanted[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0
    weights = 1 + OBJECT_WEIGHT * max_pool2d(on_object.float(), 7, stride=1, padding=3)
    error = (made - wanted).abs()
    columns = (made.diff(dim=-1) - wanted.diff(dim=-1)).abs()
    rows = (made.diff(dim=-2) - wanted.diff(dim=-2)).abs()
    pixels = (weights * (error + MSE_WEIGHT * error**2)).mean()
    edges = (weights[..., 1:] * columns).mean() + (weights[..., 1:, :] * rows).mean()
    return pixels + EDGE_WEIGHT * edges


def train_vae(config: TrainConfig) -> AutoencoderKL:
    """Trains the autoencoder until its time is used up; returns its moving average."""
    torch.manual_seed(0)
    workers = Workers.join()
    model: Any = networks.vae().train()
    model.to(config.device)
    averages = train(config, "vae", {"vae": model}, _loss(config, model), workers)
    if workers.rank == 0:
        model.load_state_dict(averages["vae"])
        model.to("cpu")
        rescale(model, *channel_statistics(model))
        save_checkpoint(config.run / TRAINED, {"vae": model.state_dict()})
    workers.wait()
    return trained_vae(config)


def train_decoder(config: TrainConfig) -> AutoencoderKL:
    """Trains the decoder further, for latents that stay as they are; returns the autoencoder."""
    workers = Workers.join()
    model: Any = trained_vae(config).train()
    for frozen in (model.encoder, model.quant_conv):
        frozen.requires_grad_(False)
    averages = train(config, "decoder", {"vae": model}, _loss(config, model), workers)
    if workers.rank == 0:
        save_checkpoint(config.run / TRAINED, {"vae": averages["vae"]})
    workers.wait()
    return trained_vae(config)


def trained_vae(config: TrainConfig) -> AutoencoderKL:
    """The autoencoder that these stages left in the run's folder, in float32."""
    model: Any = networks.vae()
    model.load_state_dict(load_checkpoint(config.run / TRAINED)["vae"])
    return model.to(config.device).eval()


def _loss(config: TrainConfig, model: Any) -> Loss:
    def loss_of_step(step: int) -> Tensor:
        wanted = pictures(step * config.batch, config.batch).to(config.device)
        with autocast(config.device):
            posterior = model.encode(wanted).latent_dist
            made = model.decode(posterior.sample()).sample
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return reconstruction_loss(made.float(), wanted) + KL_WEIGHT * kl

    return loss_of_step
