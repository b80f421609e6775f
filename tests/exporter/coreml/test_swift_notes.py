"""What Apple's Swift package can't run of a bundle, and what it draws otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from exporter.coreml.swift_notes import caveats, obstacles, swift_notes
from runtimes.bundle import Bundle
from runtimes.manifest import (
    Component,
    Conditioning,
    Defaults,
    Graph,
    Latents,
    Manifest,
    Port,
    Provenance,
)

BETAS: dict[str, object] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
SQUARE = ((64, 64),)


def port(role: str, *shape: int | str) -> Port:
    return Port(role=role, name=role, dtype="float32", shape=shape)


def graph(inputs: list[Port], outputs: list[Port]) -> Component:
    made = Graph(
        file="a", inputs=tuple(inputs), outputs=tuple(outputs), weights=(), precision="fp32"
    )
    return Component(graphs={"model": made})


def unet(channels: int = 4, *added: Port) -> Component:
    sample, out = port("sample", "batch", channels, "h", "w"), port("out_sample", "batch", 4)
    context = port("encoder_hidden_states", "batch", "sequence", 8)
    return graph([sample, port("timestep", 1), context, *added], [out])


XL = (port("text_embeds", "batch", 6), port("time_ids", "batch", 6))
TEXT = graph([port("input_ids", "batch", 77)], [port("last_hidden_state", "batch", 77, 8)])
DECODER = graph([port("latent_sample", "batch", 4, "h", "w")], [port("sample", "batch", 3)])
ENCODER = graph([port("sample", "batch", 3)], [port("latent_parameters", "batch", 8, "h", "w")])
PLAIN = {"text_encoder": TEXT, "unet": unet(), "vae_decoder": DECODER, "vae_encoder": ENCODER}
SDXL = {**PLAIN, "text_encoder_2": TEXT, "unet": unet(4, *XL)}


class Make:
    """Bundles with what has to do with Apple's package."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self._folder, self._tokenizer = folder, tokenizer

    def __call__(
        self,
        components: dict[str, Component] = PLAIN,
        *,
        betas: dict[str, object] = BETAS,
        pads: tuple[str, ...] = ("<|endoftext|>", "!"),
        **changes: Any,
    ) -> Bundle:
        tokenizers = {
            name: f"tokenizer{index}"
            for index, name in enumerate(n for n in components if n.startswith("text_encoder"))
        }
        for folder, pad in zip(tokenizers.values(), pads, strict=False):
            shutil.copytree(self._tokenizer, self._folder / folder)
            config = json.loads((self._tokenizer / "tokenizer_config.json").read_text("utf-8"))
            config["pad_token"] = pad
            (self._folder / folder / "tokenizer_config.json").write_text(json.dumps(config))
            (self._folder / folder / "special_tokens_map.json").unlink()
        (self._folder / "scheduler.json").write_text(json.dumps(betas))
        fields: dict[str, Any] = {
            "prediction_type": "epsilon",
            "latents": Latents(channels=4, scaling_factor=0.18215, vae_factor=8),
            **changes,
        }
        manifest = Manifest(
            schema="1.5",
            family="sd1",
            tasks=(),
            scheduler="scheduler.json",
            tokenizers=tokenizers,
            defaults=Defaults(
                height=64, width=64, num_inference_steps=1, guidance_scale=1, sampler="ddim"
            ),
            components=components,
            files={},
            provenance=Provenance(source_sha256="", tools={}, options={}),
            **fields,
        )
        return Bundle(self._folder, manifest)


@pytest.fixture
def make(tmp_path: Path, shapes_model: Path) -> Make:
    return Make(tmp_path, shapes_model / "tokenizer")


def test_stable_diffusion_runs_as_it_is(make: Make) -> None:
    bundle = make()
    assert swift_notes(bundle, batch=2, sizes=SQUARE) == ()
    assert swift_notes(bundle, batch=1, sizes=((64, 96),)) == ()


def test_sdxl_runs_with_its_own_scale(make: Make) -> None:
    bundle = make(SDXL, latents=Latents(channels=4, scaling_factor=0.13025, vae_factor=8))
    assert swift_notes(bundle, batch=2, sizes=SQUARE) == (
        "In Apple's Swift package: the app sets encoderScaleFactor and decoderScaleFactor to "
        "0.13025.",
    )


def without(components: dict[str, Component], name: str) -> dict[str, Component]:
    return {key: value for key, value in components.items() if key != name}


NO_TEXT = graph([port("sample", "batch", 4), port("timestep", 1)], [port("out_sample", "batch", 4)])
LATENTS_ALONE = graph([port("sample", "batch", 3)], [port("latents", "batch", 4, "h", "w")])


@pytest.mark.parametrize(
    ("components", "batch", "said"),
    [
        (without(PLAIN, "unet"), 2, "there is no U-Net"),
        (without(PLAIN, "vae_decoder"), 2, "it needs a vae_decoder, which isn't there"),
        (without(SDXL, "text_encoder_2"), 2, "it needs a text_encoder_2, which isn't there"),
        ({**PLAIN, "unet": unet(9)}, 2, "the unet takes 9 channels, and Swift feeds 4 of latents"),
        ({**PLAIN, "unet": unet(4, port("class_labels", 1))}, 2, "Swift feeds no class_labels"),
        ({**PLAIN, "unet": NO_TEXT}, 2, "the unet takes no text"),
        (
            {**SDXL, "unet_refiner": unet(4, *XL, port("timestep_cond", "batch", 8))},
            2,
            "Swift feeds no timestep_cond",
        ),
        (PLAIN, 3, "the U-Net has batch 3, and Swift feeds 1 or 2"),
        (SDXL, 1, "the U-Net has batch 1, and Swift feeds 2"),
        ({**PLAIN, "vae_encoder": LATENTS_ALONE}, 2, "the vae_encoder's latents has 4 channels, "),
    ],
)
def test_obstacles_are_told(
    make: Make, components: dict[str, Component], batch: int, said: str
) -> None:
    (found,) = obstacles(make(components), batch=batch)
    assert found.startswith(said)


def test_obstacles_are_one_line(make: Make) -> None:
    bundle = make({**PLAIN, "unet": unet(8)})
    assert swift_notes(bundle, batch=4, sizes=SQUARE) == (
        "Apple's Swift package can't run these models: the unet takes 8 channels, and Swift feeds "
        "4 of latents; the U-Net has batch 4, and Swift feeds 1 or 2.",
    )


MEAN = Latents(channels=4, scaling_factor=1, vae_factor=8, latents_mean=(0.0,) * 4)


@pytest.mark.parametrize(
    ("changes", "sizes", "said"),
    [
        ({"prediction_type": "v_prediction"}, SQUARE, "the U-Net predicts v_prediction, and Swi"),
        (
            {"betas": {**BETAS, "beta_end": 0.02}},
            SQUARE,
            "Swift's samplers have their own beta_end",
        ),
        ({"latents": MEAN}, SQUARE, "Swift knows no mean of latents"),
        ({}, ((64, 64), (64, 96)), "Swift opens the first size alone, 64x64"),
        ({"components": SDXL}, ((64, 96),), "Swift tells the U-Net of a square picture"),
        (
            {"pads": ("!",)},
            SQUARE,
            "Swift fills texts for the text_encoder up with '<|endoftext|>'",
        ),
        (
            {
                "conditioning": Conditioning(
                    force_zeros_for_empty_prompt=True, requires_aesthetics_score=False
                )
            },
            SQUARE,
            "Swift encodes an empty negative prompt, where diffusers takes zeros",
        ),
    ],
)
def test_caveats_are_told(
    make: Make, changes: dict[str, Any], sizes: tuple[tuple[int, int], ...], said: str
) -> None:
    (found,) = caveats(make(**changes), sizes=sizes)
    assert found.startswith(said)
