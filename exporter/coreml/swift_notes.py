"""Which bundles Apple's Swift package `StableDiffusion` can't open, and where its pictures differ.

Its pipelines know Stable Diffusion 1.x, 2.x and XL from text, or from text and a picture. What it
takes for granted is in github.com/apple/ml-stable-diffusion at e12202c, the files that are named.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.coreml.sizes import Size
from exporter.coreml.swift import UNET, UNET_XL, Row
from runtimes.bundle import Bundle
from runtimes.manifest import Graph
from runtimes.prompts.encoders import CONTEXT, PROJECTED
from runtimes.tokenizer import ClipTokenizer

UNETS = ("unet", "unet_refiner")

_FOUR = 4
"""Channels of the latents that it draws and feeds."""

_SCALING = 0.18215
"""Its own scale factor (StableDiffusionPipeline.Configuration.swift), which an app can set."""

_BETAS = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}
"""Its samplers' (DPMSolverMultistepScheduler.swift, Scheduler.swift)."""


def obstacles(bundle: Bundle, *, batch: int) -> tuple[str, ...]:
    """What keeps Apple's package from running a bundle's models; empty where nothing does.

    Args:
        bundle: the portable bundle.
        batch: of its U-Nets.
    """
    components = bundle.manifest.components
    if "unet" not in components:
        return ("there is no U-Net",)
    found = [
        f"it needs a {name}, which isn't there"
        for name in _needed(bundle)
        if name not in components
    ]
    row = UNET_XL if _is_xl(bundle) else UNET
    for name in UNETS:
        if name in components:
            found += _of_unet(name, bundle.graph(name), row)
    if batch not in row.sizes["batch"]:
        taken = " or ".join(map(str, row.sizes["batch"]))
        found.append(f"the U-Net has batch {batch}, and Swift feeds {taken}")
    return (*found, *_of_vae(bundle))


def caveats(bundle: Bundle, *, sizes: Sequence[Size]) -> tuple[str, ...]:
    """What differs in the pictures that Apple's package makes of a bundle that it opens.

    Args:
        bundle: the portable bundle.
        sizes: heights and widths of its pictures in pixels.
    """
    manifest, found = bundle.manifest, list[str]()
    if manifest.prediction_type != "epsilon":
        found.append(
            f"the U-Net predicts {manifest.prediction_type}, and Swift's samplers take epsilon for "
            "granted: its pictures are wrong"
        )
    if odd := [name for name, value in _BETAS.items() if _differs(bundle, name, value)]:
        found.append(f"Swift's samplers have their own {' and '.join(odd)}")
    if manifest.latents.latents_mean is not None:
        found.append("Swift knows no mean of latents")
    elif manifest.latents.scaling_factor != _SCALING:
        factor = manifest.latents.scaling_factor
        found.append(f"the app sets encoderScaleFactor and decoderScaleFactor to {factor:g}")
    if len(sizes) > 1:
        found.append(f"Swift opens the first size alone, {sizes[0][0]}x{sizes[0][1]}")
    if _is_xl(bundle) and any(height != width for height, width in sizes[:1]):
        found.append("Swift tells the U-Net of a square picture")
    if manifest.conditioning is not None and manifest.conditioning.force_zeros_for_empty_prompt:
        found.append("Swift encodes an empty negative prompt, where diffusers takes zeros")
    return (*found, *_of_tokenizers(bundle))


def swift_notes(bundle: Bundle, *, batch: int, sizes: Sequence[Size]) -> tuple[str, ...]:
    """A line for whoever compiles a bundle, or none where Apple's package runs it as it is."""
    if against := obstacles(bundle, batch=batch):
        return (f"Apple's Swift package can't run these models: {'; '.join(against)}.",)
    if differing := caveats(bundle, sizes=sizes):
        return (f"In Apple's Swift package: {'; '.join(differing)}.",)
    return ()


def _is_xl(bundle: Bundle) -> bool:
    return any(port.role == PROJECTED for port in bundle.graph("unet").inputs)


def _needed(bundle: Bundle) -> tuple[str, ...]:
    """Its pipelines' models: one text encoder, SDXL's second, what decodes."""
    return ("text_encoder_2" if _is_xl(bundle) else "text_encoder", "vae_decoder")


def _of_unet(name: str, graph: Graph, row: Row) -> list[str]:
    shapes = {port.role: port.shape for port in graph.inputs}
    found = [f"Swift feeds no {role}" for role in shapes if role not in row.fed]
    if CONTEXT not in shapes:
        found.append(f"the {name} takes no text")
    if (channels := shapes["sample"][1]) != _FOUR:
        found.append(f"the {name} takes {channels} channels, and Swift feeds {_FOUR} of latents")
    return found


def _of_vae(bundle: Bundle) -> list[str]:
    found: list[str] = []
    for name, role in (("vae_decoder", "latent_sample"), ("vae_encoder", "latent_parameters")):
        if name not in bundle.manifest.components:
            continue
        graph = bundle.graph(name)
        (port,) = graph.inputs if name == "vae_decoder" else graph.outputs
        wanted = _FOUR * (1 if name == "vae_decoder" else 2)
        if port.role != role or port.shape[1] != wanted:
            found.append(f"the {name}'s {port.role} has {port.shape[1]} channels, not {wanted}")
    return found


def _differs(bundle: Bundle, name: str, value: object) -> bool:
    """Whether a scheduler's config says otherwise; what it leaves open is diffusers' default."""
    return bundle.scheduler_config.get(name, value) != value


def _of_tokenizers(bundle: Bundle) -> list[str]:
    """Swift fills texts up with the token that ends them, for SDXL's second encoder with "!"."""
    found: list[str] = []
    for encoder, folder in bundle.manifest.tokenizers.items():
        tokenizer = ClipTokenizer.open(bundle.path / folder)
        own = tokenizer.token(tokenizer.pad_token_id)
        swift = "!" if encoder == "text_encoder_2" else "<|endoftext|>"
        if own != swift:
            found.append(f"Swift fills texts for the {encoder} up with {swift!r}, not {own!r}")
    return found
