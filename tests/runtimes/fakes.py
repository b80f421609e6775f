"""A bundle whose networks are formulas, and the engine that computes them: a pipeline whose every
number can be worked out by hand, without torch, an SDK or a file of weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import hash_file
from runtimes.byte_pairs import BYTE_SYMBOLS, END_OF_WORD
from runtimes.engine import Array
from runtimes.manifest import (
    MANIFEST_NAME,
    Component,
    Conditioning,
    Defaults,
    DType,
    File,
    Graph,
    Latents,
    Manifest,
    Port,
    Provenance,
    encode_manifest,
)

CHANNELS = 4
CONTEXT = 4
FACTOR = 8
SCALING = 0.5
LAYERS = 3
"""Of the text encoders of SDXL."""
CONDITIONINGS = {
    "base": Conditioning(force_zeros_for_empty_prompt=True, requires_aesthetics_score=False),
    "refiner": Conditioning(force_zeros_for_empty_prompt=False, requires_aesthetics_score=True),
}
SCHEDULER: Mapping[str, object] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "steps_offset": 1,
}


def embed(input_ids: Array) -> Array:
    """Text embeddings [b, 77, 4]."""
    ids = input_ids.astype(np.float32)[..., np.newaxis]
    return np.sin(ids * np.arange(1, CONTEXT + 1, dtype=np.float32) * np.float32(0.1))


def predict(sample: Array, timestep: Array, context: Array | None = None, *told: Array) -> Array:
    """Predicted noise: depends on every input, each sample on its own."""
    more = sample[:, CHANNELS:]
    if more.shape[1]:
        sample = sample[:, :CHANNELS] + np.float32(0.1) * more.sum(axis=1, keepdims=True)
    for each in told:
        sample = sample * (1 + np.sin(each.mean(axis=1))[:, np.newaxis, np.newaxis, np.newaxis])
    late = np.cos(timestep.astype(np.float32)[0] / np.float32(1000))
    predicted = np.float32(0.5) * np.tanh(sample) * late
    if context is None:
        return predicted
    bias = context.mean(axis=1, dtype=np.float32).reshape(len(context), -1, CHANNELS).sum(axis=1)
    return predicted + bias[:, :, np.newaxis, np.newaxis]


def decode(latent: Array) -> Array:
    """A picture [b, 3, 8h, 8w] in [-1, 1] and a little beyond."""
    cells = np.float32(1.2) * np.tanh(latent[:, :3])
    return cells.repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)


def encode(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means and log variances [b, 8, h, w] of a picture [b, 3, 8h, 8w]."""
    corners = picture[:, :, ::FACTOR, ::FACTOR]
    means = np.concatenate([corners, corners.mean(axis=1, keepdims=True)], axis=1)
    return np.concatenate([means, means - np.float32(4)], axis=1)


class FakeEngine:
    """Computes the formula of a component; refuses feeds that a real engine would refuse.

    Attributes:
        made: all engines since the test began.
        nan_at: component → the call, from 0, at which it gives NaN.
    """

    made: ClassVar[list[FakeEngine]] = []
    nan_at: ClassVar[dict[str, int]] = {}

    def __init__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> None:
        self.graph = graph
        self.component = graph.file.split("/")[0]
        self.device, self.version, self.threads = device, "fake 1.2.3", threads
        self.calls: list[dict[str, Array]] = []
        self.closed = False
        assert (folder / graph.file).is_file()
        self.made.append(self)

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        assert not self.closed
        assert set(feeds) == {port.name for port in self.graph.inputs}
        for port in self.graph.inputs:
            check_feed(port, feeds[port.name])
        arrays = [feeds[port.name] for port in self.graph.inputs]
        formulas: dict[str, Callable[..., Array]] = {
            "text_encoder": embed,
            "text_encoder_2": embed,
            "unet": predict,
            "vae_decoder": decode,
            "vae_encoder": encode,
        }
        formula = formulas[self.component]
        result: Array = formula(*arrays)
        if self.nan_at.get(self.component) == len(self.calls):
            result = result.copy()
            result.flat[-1] = np.nan
        self.calls.append(dict(feeds))
        # Each output is its own multiple of the formula.
        factors = {port.name: np.float32(i + 1) for i, port in enumerate(self.graph.outputs)}
        wanted = list(factors) if outputs is None else list(outputs)
        dtype = self.graph.outputs[0].dtype
        found = {name: np.multiply(result, factors[name]).astype(dtype) for name in wanted}
        pooled = {port.name for port in self.graph.outputs if port.role == "text_embeds"}
        return {name: x.mean(axis=1) if name in pooled else x for name, x in found.items()}

    def close(self) -> None:
        self.closed = True


def check_feed(port: Port, feed: Array) -> None:
    assert feed.dtype == port.dtype, f"{port.name}: {feed.dtype}"
    assert feed.flags.c_contiguous, port.name
    assert len(feed.shape) == len(port.shape), f"{port.name}: {feed.shape}"
    for size, wanted in zip(feed.shape, port.shape, strict=True):
        assert isinstance(wanted, str) or size == wanted, f"{port.name}: {feed.shape}"


def made(component: str) -> FakeEngine:
    """The engine of a component that was loaded last."""
    return [engine for engine in FakeEngine.made if engine.component == component][-1]


def write_fake_bundle(
    folder: Path,
    *,
    batch: int | str = "batch",
    height: int | str = "height",
    width: int | str = "width",
    decoder_height: int | str | None = None,
    timestep: DType = "float32",
    sample: DType = "float32",
    scheduler: Mapping[str, object] = SCHEDULER,
    unet_channels: int | None = None,
    sequence: int | str = "sequence",
    layers: int = 0,
    told_scale: int | None = None,
    text: bool = True,
    sdxl: Literal["base", "refiner"] | None = None,
    **changes: object,
) -> Path:
    """Writes a bundle for `FakeEngine`.

    Args:
        folder: where; made.
        batch: of the U-Net; the other graphs take any.
        height: of the latents, in U-Net and VAE decoder.
        width: likewise.
        decoder_height: of the VAE decoder alone.
        timestep: the U-Net's type for it.
        sample: the U-Net's type for latents and text embeddings, and what it gives.
        scheduler: its scheduler_config.json.
        unet_channels: that the U-Net takes, where the bundle shall have a VAE encoder too.
        sequence: tokens of the U-Net's text embeddings.
        layers: of the text encoder, each of which gives its normalised states.
        told_scale: width of the guidance scale's embedding, where the U-Net takes one.
        text: whether the U-Net takes text, and there is a text encoder.
        sdxl: which of SDXL's models it shall be: two text encoders or the second alone, a pooled
            embedding, and six numbers about the picture or five.
        changes: fields of the manifest that shall be otherwise.
    """

    def port(name: str, dtype: DType, *shape: int | str, role: str | None = None) -> Port:
        return Port(role=role or name, name=name, dtype=dtype, shape=shape)

    ids = port("ids", "int32", "batch", 77, role="input_ids")
    states = port("states", "float32", "batch", 77, CONTEXT, role="last_hidden_state")
    raw = [port(f"hidden_states.{n}", "float32", "batch", 77, CONTEXT) for n in range(LAYERS + 1)]
    pooled = port("text_embeds", "float32", "batch", CONTEXT)
    encoders = {
        None: {"text_encoder": "tokenizer"} if text else {},
        "base": {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
        "refiner": {"text_encoder_2": "tokenizer_2"},
    }[sdxl]
    told = [
        port("text_embeds", "float32", batch, CONTEXT),
        port("time_ids", "float32", batch, 6 if sdxl == "base" else 5),
    ]
    latent = (batch, CHANNELS, height, width)
    unet_width = CONTEXT * len(encoders)
    unet = (
        port("sample", sample, batch, unet_channels or CHANNELS, height, width),
        port("timestep", timestep, 1),
        *([port("encoder_hidden_states", sample, batch, sequence, unet_width)] if text else []),
        *([port("timestep_cond", "float32", batch, told_scale)] if told_scale else []),
        *(told if sdxl else []),
    )
    earlier = [
        port(f"normalised_states.{n}", "float32", "batch", 77, CONTEXT) for n in range(layers)
    ]
    cells = port("latent_sample", "float32", "batch", CHANNELS, decoder_height or height, width)
    picture = port("sample", "float32", "batch", 3, "image_height", "image_width")
    given = {"text_encoder": raw if sdxl else earlier, "text_encoder_2": [*raw, pooled]}
    components = {
        **{name: _component(name, (ids,), states, *given[name]) for name in encoders},
        "unet": _component("unet", unet, port("out_sample", sample, *latent)),
        "vae_decoder": _component("vae_decoder", (cells,), picture),
    }
    if unet_channels is not None:
        moments = port("moments", "float32", "b", 8, "h", "w", role="latent_parameters")
        components["vae_encoder"] = _component("vae_encoder", (picture,), moments)
    texts = {
        "scheduler/scheduler_config.json": json.dumps(scheduler),
        **{f"{folder}/vocab.json": json.dumps(vocabulary()) for folder in encoders.values()},
        **{f"{folder}/merges.txt": "#version: 0.2\n" for folder in encoders.values()},
        **{f"{name}/model.fake": name for name in components},
    }
    for name, content in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    manifest = Manifest(
        schema="1.0",
        family="sd1",
        tasks=("text-to-image",),
        prediction_type="epsilon",
        scheduler="scheduler/scheduler_config.json",
        tokenizers=encoders,
        conditioning=CONDITIONINGS[sdxl] if sdxl else None,
        latents=Latents(channels=CHANNELS, scaling_factor=SCALING, vae_factor=FACTOR),
        defaults=Defaults(
            height=32, width=24, num_inference_steps=4, guidance_scale=7.5, sampler="ddim"
        ),
        components=components,
        files={name: _file(folder / name) for name in texts},
        provenance=Provenance(source_sha256="0" * 64, tools={}, options={}),
        target="fake",
    )
    changed = msgspec.structs.replace(manifest, **changes)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return folder


def vocabulary() -> dict[str, int]:
    """CLIP's vocabulary without merges: every letter is a token."""
    letters = list(BYTE_SYMBOLS.values())
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters)]
    return {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _component(name: str, inputs: tuple[Port, ...], *outputs: Port) -> Component:
    graph = Graph(
        file=f"{name}/model.fake",
        inputs=inputs,
        outputs=outputs,
        weights=(),
        precision="fp32",
        engine="fake",
    )
    return Component(graphs={"model": graph})


def _file(path: Path) -> File:
    return File(size=path.stat().st_size, sha256=hash_file(path))
