"""The torch side of a comparison: networks with a source's weights, and inputs worth comparing on.

One weight of a network is in memory at a time. Inputs are real: embeddings of real prompts, latents
along a 4-step guided trajectory, the picture that it ends in. What a later component is fed with is
carried from the earlier ones.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exporter.components.base import Component, Config
from exporter.components.unet import TEXT_WIDTH
from exporter.errors import SourceError
from exporter.mapped_network import MappedNetwork, read_float32, set_buffers
from exporter.picture_numbers import about_picture
from exporter.prepare import Prepared
from exporter.prompts import NOISE_LEVEL, PROMPTS
from exporter.weights import Tensor
from runtimes import noise
from runtimes.bundle import read_json
from runtimes.guidance.embedding import ROLE, guidance_embedding
from runtimes.manifest import Manifest
from runtimes.schedule import NoiseSchedule
from runtimes.tokenizer import ClipTokenizer

Array = NDArray[Any]
Feeds = Mapping[str, Array]

STEPS = 4
GUIDANCE_SCALE = 7.5


@dataclass(frozen=True)
class Sample:
    """One call of a component: what it was given and what torch made of it, by port name."""

    feeds: Feeds
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Carried:
    """What the components of a picture hand on to the later ones.

    Attributes:
        embeddings: of `PROMPTS`, float32 [prompts, tokens, d]; random until a text encoder ran.
            Of SDXL both encoders' states side by side.
        pooled: SDXL's pooled embeddings, float32 [prompts, p], likewise.
        latents: the trajectory's last estimate, float32 [1, c, h, w]; noise until a U-Net ran.
        picture: float32 [1, 3, H, W], about [-1, 1]; noise until a decoder ran.
    """

    embeddings: Array
    pooled: Array
    latents: Array
    picture: Array

    @classmethod
    def initial(cls, manifest: Manifest, width: int, pooled_width: int = 1) -> Carried:
        """What components are fed with when those before them are not in the bundle.

        Args:
            manifest: says the sizes: those that the graphs were built for, else the model's own.
            width: of the text embeddings.
            pooled_width: of SDXL's pooled embeddings.
        """
        generator = noise.Generator(1)
        factor = manifest.latents.vae_factor
        height, wide = manifest.defaults.height // factor, manifest.defaults.width // factor
        return cls(
            latents=generator.randn((1, manifest.latents.channels, height, wide)),
            picture=np.tanh(generator.randn((1, 3, height * factor, wide * factor))),
            embeddings=generator.randn((len(PROMPTS), 77, width)),
            pooled=generator.randn((len(PROMPTS), pooled_width)),
        )

    def of_size(self, manifest: Manifest, width: int, pooled_width: int = 1) -> Carried:
        """With latents and pictures of a manifest's size; those that have it are left as they are.

        Args: as of `initial`.
        """
        other = Carried.initial(manifest, width, pooled_width)
        if other.latents.shape == self.latents.shape:
            return self
        return replace(self, latents=other.latents, picture=other.picture)

    def with_states(self, found: Array, *, last: bool = False) -> Carried:
        """With a text encoder's states in the first of the columns, or in the last of them."""
        own, width = self.embeddings.shape[-1], found.shape[-1]
        if width >= own:  # the only encoder; or there is no U-Net that says how wide all are
            return replace(self, embeddings=found)
        embeddings = self.embeddings.copy()
        start = own - width if last else 0
        embeddings[..., start : start + width] = found
        return replace(self, embeddings=embeddings)

    def save(self, folder: Path) -> None:
        """Writes the arrays into a new folder, bit by bit as they are."""
        folder.mkdir()
        for name, values in vars(self).items():
            np.save(folder / f"{name}.npy", values)

    @classmethod
    def load(cls, folder: Path) -> Carried:
        """Reads what `save` wrote."""
        return cls(**{each.name: np.load(folder / f"{each.name}.npy") for each in fields(cls)})


Record = Callable[[Feeds], Mapping[str, Array]]
"""Runs the reference on feeds, keeps both, returns the outputs."""


def carried_widths(unet: Config | None) -> tuple[int, int]:
    """The columns of embeddings and pooled embeddings that a U-Net takes; 1 where it has none."""
    told = {} if unet is None else unet
    return int(told.get("cross_attention_dim") or 1), int(told.get(TEXT_WIDTH) or 1)


def load_network(
    component: Component, config: Config, weights: Mapping[str, Tensor]
) -> torch.nn.Module:
    """A component's network in float32 with the given weights, read one tensor at a time.

    Args:
        component: whose network.
        config: the network's config.
        weights: Diffusers key → tensor, for every parameter that the component uses.
    """
    with torch.device("meta"):
        network = component.build(config)
    state = {
        name: read_float32(weights[key])
        for name in network.state_dict()
        if (key := component.canonical(name)) in weights
    }
    network.load_state_dict(state, strict=False, assign=True)
    set_buffers(network, component, config)
    return network.eval().requires_grad_(False)


@contextmanager
def recording(
    component: Component, config: Config, weights: Mapping[str, Tensor], samples: list[Sample]
) -> Generator[Record]:
    """Gives a function that runs a network on weights in their files, and keeps what it gave."""
    mapped: MappedNetwork | None = MappedNetwork(component, config, weights)

    def run(feeds: Feeds) -> Mapping[str, Array]:
        assert mapped is not None
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
        with torch.inference_mode(), mapped.reading():
            results = component.reference(mapped.network, config, tensors)
        outputs = {name: value.float().numpy() for name, value in results.items()}
        samples.append(Sample(dict(feeds), outputs))
        return outputs

    try:
        yield run
    finally:
        mapped = None
        gc.collect()


def run_reference(
    folder: Path, manifest: Manifest, item: Prepared, carried: Carried
) -> tuple[list[Sample], Carried]:
    """Runs torch on one component, on what the components before it left.

    Args:
        folder: the bundle, for its tokenizer and scheduler.
        manifest: its manifest.
        item: the component with the reference's weights.
        carried: what the components before it handed on.

    Returns:
        Feeds and outputs of every call, and what is handed on to the next component.

    Raises:
        SourceError: no inputs are known for such a component.
    """
    samples: list[Sample] = []
    name = item.component.name
    with recording(item.component, item.config, item.weights, samples) as run:
        if name == "text_encoder":
            tokenizer = ClipTokenizer.open(folder / manifest.tokenizers[name])
            (found,) = text_samples(
                run, tokenizer(PROMPTS).input_ids, (taken_state(item, manifest),)
            )
            return samples, carried.with_states(found)
        if name == "text_encoder_2":
            tokenizer = ClipTokenizer.open(folder / manifest.tokenizers[name])
            roles = (taken_state(item, manifest), "text_embeds")
            found, pooled = text_samples(run, tokenizer(PROMPTS).input_ids, roles)
            return samples, replace(carried.with_states(found, last=True), pooled=pooled)
        if name == "unet":
            schedule = NoiseSchedule.from_config(read_json(folder / manifest.scheduler))
            if manifest.prediction_type == "k_unet":
                latents = k_unet_samples(
                    run, item.config, carried.embeddings, schedule.sigmas, carried.latents
                )
                return samples, replace(carried, latents=latents)
            latents = unet_samples(
                run,
                item.config,
                carried.embeddings,
                carried.pooled,
                np.asarray(schedule.alphas_cumprod),
                manifest.prediction_type,
                carried.latents.shape[2:],
            )
            return samples, replace(carried, latents=latents)
        if name == "vae_decoder":
            scaled = carried.latents / np.float32(manifest.latents.scaling_factor)
            return samples, replace(carried, picture=run({"latent_sample": scaled})["sample"])
        if name == "vae_encoder":
            run({"sample": np.clip(carried.picture, -1, 1)})
            return samples, carried
    raise SourceError(f"{name}: no verification inputs are known for this component.")


def taken_state(item: Prepared, manifest: Manifest) -> str:
    """The text encoder's output that the U-Net takes: SDXL's the penultimate layer's, as it is."""
    if manifest.conditioning is None:
        return "last_hidden_state"
    return f"hidden_states.{int(item.config['num_hidden_layers']) - 1}"


def text_samples(
    run: Record, input_ids: NDArray[np.int64], roles: tuple[str, ...] = ("last_hidden_state",)
) -> tuple[Array, ...]:
    """Runs a text encoder on prompts, two at a time.

    Returns:
        For each role of an output, its values float32 [prompts, …].
    """
    found = [run({"input_ids": input_ids[n : n + 2]}) for n in range(0, len(input_ids), 2)]
    return tuple(np.concatenate([outputs[role] for outputs in found]) for role in roles)


def unet_samples(
    run: Record,
    config: Config,
    embeddings: Array,
    pooled: Array,
    alphas_cumprod: NDArray[np.float64],
    prediction_type: str,
    size: tuple[int, ...],
) -> Array:
    """Runs the U-Net along a guided DDIM trajectory of four steps, both halves in one call.

    One that takes no text is not guided.

    Args:
        run: the reference.
        config: the U-Net's config.
        embeddings: of at least three prompts; the third, the empty one, is the unconditional. A
            U-Net of fewer columns takes the last: a refiner knows the second encoder alone.
        pooled: SDXL's pooled embeddings of the same prompts; others take none.
        alphas_cumprod: of the model's schedule.
        prediction_type: "epsilon", "v_prediction" or "sample".
        size: latent height and width.

    Returns:
        The trajectory's last estimate of the clean latents, float32 [1, c, h, w].
    """
    generator = noise.Generator(0)
    channels = int(config["out_channels"])
    x = generator.randn((1, channels, *size))
    extra = _extra_channels(generator, int(config["in_channels"]) - channels, size)
    text = _text_feeds(config, embeddings)
    halves = 2 if text else 1
    added = {**_added_feeds(config), **about_picture(config, pooled)}
    denoised = x
    timesteps = np.linspace(len(alphas_cumprod) - 1, 0, STEPS + 1)[:-1].round().astype(int)
    for index, timestep in enumerate(timesteps):
        sample = np.repeat(np.concatenate([x, extra], axis=1), halves, axis=0)
        feeds = {
            "sample": sample,
            "timestep": np.array([timestep], np.float32),
            **text,
            **added,
        }
        feeds |= told_scale(config, halves)
        uncond, *conds = np.split(run(feeds)["out_sample"], halves)
        output = uncond + sum(GUIDANCE_SCALE * (cond - uncond) for cond in conds)
        alpha, sigma = _level(float(alphas_cumprod[timestep]))
        denoised, eps = _estimates(x, output, alpha, sigma, prediction_type)
        last = index + 1 == len(timesteps)
        alpha, sigma = (1.0, 0.0) if last else _level(float(alphas_cumprod[timesteps[index + 1]]))
        x = (alpha * denoised + sigma * eps).astype(np.float32)
    return denoised.astype(np.float32)


def k_unet_samples(
    run: Record, config: Config, embeddings: Array, sigmas: NDArray[np.float32], latents: Array
) -> Array:
    """Runs a K-U-Net along a guided trajectory of four of Euler's steps, both halves in one call.

    Args:
        run: the reference.
        config: the U-Net's config.
        embeddings: of at least three prompts; the third, the empty one, is the unconditional.
        sigmas: of the model's schedule, rising.
        latents: unit noise of the shape of what it makes, [1, c, h, w].

    Returns:
        The trajectory's last estimate of the clean latents, float32 [1, c, h, w].
    """
    small = noise.Generator(0).randn(latents.shape)
    told = noise.Generator(2).randn((2, int(config["time_cond_proj_dim"])))
    context = np.concatenate([embeddings[2:3], embeddings[:1]])
    visited = sigmas[np.linspace(len(sigmas) - 1, 0, STEPS).round().astype(int)].tolist()
    x, denoised = latents * visited[0], latents
    for sigma, target in zip(visited, [*visited[1:], 0.0], strict=True):
        scale = float(np.hypot(sigma, 1.0))
        sample = np.concatenate([x / scale, small], axis=1).astype(np.float32)
        feeds = {
            "sample": np.repeat(sample, 2, axis=0),
            "timestep": np.array([np.log(sigma) / 4], np.float32),
            "encoder_hidden_states": context,
            "timestep_cond": told,
        }
        uncond, cond = np.split(run(feeds)["out_sample"][:, : latents.shape[1]], 2)
        output = uncond + GUIDANCE_SCALE * (cond - uncond)
        denoised = x / scale**2 + sigma / scale * output
        x = denoised + (x - denoised) * (target / sigma)
    return denoised.astype(np.float32)


def told_scale(config: Config, count: int) -> dict[str, Array]:
    """What a U-Net that guides itself is told of `GUIDANCE_SCALE`; nothing for others.

    It is compared like any other, both halves in one call, though it is not meant to be guided.
    """
    width = config.get("time_cond_proj_dim")
    if width is None:
        return {}
    return {ROLE: np.repeat(guidance_embedding(GUIDANCE_SCALE, int(width)), count, axis=0)}


def _extra_channels(generator: noise.Generator, channels: int, size: tuple[int, ...]) -> Array:
    """An inpainting U-Net's mask (a box) and masked latents; nothing for other U-Nets."""
    extra = np.zeros((1, channels, *size), np.float32)
    if channels:
        height, width = size
        extra[:, :1, height // 4 : height // 2, width // 4 : width // 2] = 1
        extra[:, 1:] = generator.randn((1, channels - 1, *size)) * (1 - extra[:, :1])
    return extra


def _text_feeds(config: Config, embeddings: Array) -> dict[str, Array]:
    """Text embeddings of both halves; nothing for a U-Net that takes no text."""
    width = config.get("cross_attention_dim")
    if width is None:
        return {}
    context = np.concatenate([embeddings[2:3], embeddings[:1]])
    return {"encoder_hidden_states": context[..., -int(width) :]}


def _added_feeds(config: Config) -> dict[str, Array]:
    """Inputs that not every U-Net has: a class, a random embedding."""
    feeds: dict[str, Array] = {}
    if config.get("class_embed_type") == "timestep":
        feeds["class_labels"] = np.array([NOISE_LEVEL], np.float32)
    elif classes := config.get("num_class_embeds"):
        feeds["class_labels"] = np.array([min(NOISE_LEVEL, int(classes) - 1)])
    if width := config.get("time_cond_proj_dim"):
        feeds["timestep_cond"] = noise.Generator(2).randn((2, int(width)))
    return feeds


def _level(alpha_cumprod: float) -> tuple[float, float]:
    return float(np.sqrt(alpha_cumprod)), float(np.sqrt(1 - alpha_cumprod))


def _estimates(
    x: Array, output: Array, alpha: float, sigma: float, prediction_type: str
) -> tuple[Array, Array]:
    """Clean latents and noise from what the U-Net predicts."""
    if prediction_type == "v_prediction":
        return alpha * x - sigma * output, sigma * x + alpha * output
    if prediction_type == "sample":
        return output, (x - alpha * output) / sigma
    return (x - sigma * output) / max(alpha, 1e-3), output
