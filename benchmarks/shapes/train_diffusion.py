"""Stage two: the denoiser and the text encoder together, on cached latents."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel

from benchmarks.shapes import networks
from benchmarks.shapes.export import SCHEDULE
from benchmarks.shapes.latent_cache import LatentCache, latent_cache
from benchmarks.shapes.train_vae import trained_vae
from benchmarks.shapes.training import TrainConfig, Workers, autocast, load_checkpoint
from benchmarks.shapes.training_loop import Loss, Modules, train
from benchmarks.shapes.vocabulary import token_ids, tokens

STAGE = "diffusion"
CAPTION_DROPOUT = 0.1
# Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", gamma = 5.
MIN_SNR_GAMMA = 5.0
MOST_NOISE_WEIGHT = 6.0


def new_networks(device: str) -> Modules:
    """The networks of this stage, randomly initialised, `unet` and `text_encoder`."""
    unet = networks.unet()
    text_encoder = networks.text_encoder(len(tokens()))
    if device == "cpu":
        # The backward pass of torch's fused attention is 8 times slower in bfloat16 on a CPU.
        unet.set_attn_processor(AttnProcessor())
        text_encoder.set_attn_implementation("eager")
    made: Modules = {"unet": unet, "text_encoder": text_encoder}
    return {name: module.to(torch.device(device)).train() for name, module in made.items()}


def weights_of_timesteps(alphas_cumprod: Tensor) -> Tensor:
    """Weight of the epsilon loss at each timestep.

    Min-SNR's min(snr, gamma) / snr where there is little noise. Where there is much, 1 / sqrt(snr),
    at most 6: shapes' colours are settled there, and the plain loss hardly sees them.
    """
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=MIN_SNR_GAMMA) / snr * snr.rsqrt().clamp(1, MOST_NOISE_WEIGHT)


def train_diffusion(config: TrainConfig) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Trains both networks until their time is used up; returns their moving averages."""
    workers = Workers.join()
    data = latent_cache(config, trained_vae(config), workers)
    torch.manual_seed(1)
    modules = new_networks(config.device)
    train(config, STAGE, modules, _loss(config, modules, data), workers)
    workers.wait()
    return trained_diffusion(config)


def trained_diffusion(config: TrainConfig) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The networks that the run's checkpoint holds (moving averages), in float32."""
    averages = load_checkpoint(config.run / f"{STAGE}.pt")["ema"]
    unet, text_encoder = networks.unet(), networks.text_encoder(len(tokens()))
    unet.load_state_dict(averages["unet"])
    text_encoder.load_state_dict(averages["text_encoder"])
    return unet.eval(), text_encoder.eval()


def _batch(data: LatentCache, count: int) -> tuple[Tensor, Tensor]:
    """Latents and token ids of scenes picked at random, some captions dropped."""
    picked = torch.randint(len(data.latents), (count,))
    ids = data.ids[picked].long()
    ids[torch.rand(count) < CAPTION_DROPOUT] = torch.tensor(token_ids(""))
    return data.latents[picked].float(), ids


def _loss(config: TrainConfig, modules: Modules, data: LatentCache) -> Loss:
    device = config.device
    alphas_cumprod = DDPMScheduler(**SCHEDULE).alphas_cumprod
    weights = weights_of_timesteps(alphas_cumprod)

    def loss_of_step(step: int) -> Tensor:
        latents, ids = _batch(data, config.batch)
        timesteps = torch.randint(len(alphas_cumprod), (config.batch,))
        alpha = alphas_cumprod[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        noisy = (alpha * latents + sigma * noise).to(device)
        with autocast(device):
            hidden = modules["text_encoder"](ids.to(device)).last_hidden_state
            eps = modules["unet"](noisy, timesteps.to(device), encoder_hidden_states=hidden).sample
        errors = (eps.float() - noise.to(device)).square().mean((1, 2, 3))
        return (weights[timesteps].to(device) * errors).mean()

    return loss_of_step
