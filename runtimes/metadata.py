"""What is written into a picture's file about how it was made."""

from __future__ import annotations

import json

import msgspec

from runtimes.settings import Settings

SAMPLER_TITLES: dict[str, str] = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "dpm-2m": "DPM 2M",
    "dpm-2s": "DPM 2S",
    "dpm2": "DPM2",
    "dpm2-a": "DPM2 a",
    "dpmpp-2m": "DPM++ 2M",
    "dpmpp-2m-sde": "DPM++ 2M SDE",
    "dpmpp-2s": "DPM++ 2S",
    "dpmpp-3m": "DPM++ 3M",
    "dpmpp-3m-sde": "DPM++ 3M SDE",
    "dpmpp-sde": "DPM++ SDE",
    "euler": "Euler",
    "euler-a": "Euler a",
    "heun": "Heun",
    "lcm": "LCM",
    "lms": "LMS",
    "pndm": "PLMS",
    "tcd": "TCD",
    "unipc": "UniPC",
}
"""Sampler → the name under which other tools know it; for others, our own."""

SCHEDULE_TITLES: dict[str, str] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "beta": "Beta",
    "lu": "Lu",
    "ays": "Align Your Steps",
}
"""Schedule → the name under which other tools know it; they leave out what is plain."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What made a picture, beside its settings.

    Attributes:
        bundle_sha256: of the bundle's manifest, which holds the hashes of all its files.
        engine: the U-Net's engine and its version, such as "onnxruntime 1.32.0".
        device: where it ran, as the engine names it.
        threads: threads within an operation; None where the engine chose.
        latedge_version: our own.
        machine: the processor, its vector instructions and cores: `runtimes.machine`.
    """

    bundle_sha256: str
    engine: str
    device: str
    threads: int | None
    latedge_version: str
    machine: str = ""


def png_texts(settings: Settings, origin: Origin, index: int) -> dict[str, str]:
    """The text chunks of one picture.

    Args:
        settings: of the call.
        origin: of the pipeline.
        index: of the picture in the call's result.

    Returns:
        `latedge`, a JSON object in ASCII, which `runtimes.recorded` reads, and `parameters`, the
        form that image viewers and other tools read.
    """
    which = index // settings.num_images_per_prompt
    prompt, negative = settings.prompt[which], settings.negative_prompt[which]
    record = {**msgspec.to_builtins(settings), **msgspec.to_builtins(origin), "index": index}
    record |= {"prompt": prompt, "negative_prompt": negative}
    if len(settings.prompt) > 1:
        # A picture of a batch depends on the whole of it: the noise is drawn for all at once.
        record |= {"prompts": settings.prompt, "negative_prompts": settings.negative_prompt}
    return {
        "latedge": json.dumps(record, sort_keys=True),
        "parameters": _parameters(settings, origin, prompt, negative),
    }


def _schedule(settings: Settings) -> dict[str, str]:
    """What other tools read of the schedule, and sigmas or timesteps that were given."""
    fields: dict[str, str] = {}
    if settings.schedule in SCHEDULE_TITLES:
        fields["Schedule type"] = SCHEDULE_TITLES[settings.schedule]
    for title, given in (("Sigmas", settings.sigmas), ("Timesteps", settings.timesteps)):
        if given is not None:
            # In quotes, as other tools write what holds a comma.
            fields[title] = f'"{", ".join(f"{value:g}" for value in given)}"'
    return fields


def _parameters(settings: Settings, origin: Origin, prompt: str, negative: str) -> str:
    fields = {
        "Steps": settings.num_inference_steps,
        "Sampler": SAMPLER_TITLES.get(settings.sampler, settings.sampler),
        **_schedule(settings),
        "CFG scale": f"{settings.guidance_scale:g}",
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model hash": origin.bundle_sha256[:10],
        **_picture_fields(settings),
        "Version": f"latedge {origin.latedge_version}",
    }
    lines = [prompt, *([f"Negative prompt: {negative}"] if negative and settings.guided else [])]
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in fields.items())])


def _picture_fields(settings: Settings) -> dict[str, object]:
    """What goes with given pictures and variations, under the names that other tools know."""
    fields: dict[str, object] = {}
    if settings.strength is not None:
        fields["Denoising strength"] = f"{settings.strength:g}"
    if settings.mask_blur:
        fields["Mask blur"] = f"{settings.mask_blur:g}"
    if settings.padding_mask_crop is not None:
        fields["Masked area padding"] = settings.padding_mask_crop
    if settings.variation_seed is not None:
        fields["Variation seed"] = settings.variation_seed
        fields["Variation seed strength"] = f"{settings.variation_strength:g}"
    return fields
