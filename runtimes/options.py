"""The options of a call: the one list of their names, and what each of them says.

A call of the pipeline, `settle`, a repetition and `generate` take them by these names. Each is
checked where its topic is. None, as absence, means what the bundle, or else the task, has by
default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from runtimes.errors import unknown_name

if TYPE_CHECKING:
    from runtimes.embeddings_file import PromptEmbeddings
    from runtimes.inputs import Floats, Pictures
    from runtimes.prompts import LongPrompts, Syntax
    from runtimes.samplers.choice import Scalar


class OutputOptions(TypedDict, total=False):
    """What is made.

    Attributes:
        height: in pixels, a multiple of the VAE's factor; what the bundle was built for, if so.
        width: likewise.
        num_images_per_prompt: pictures of each prompt; 1 by default.
        vae_tile: pixels of the tiles' side in which the VAE works; None for whole pictures up to
            512×512 or the bundle's own size, and tiles above.
    """

    height: int | None
    width: int | None
    num_images_per_prompt: int | None
    vae_tile: int | None


class NoiseOptions(TypedDict, total=False):
    """The noise that a call begins with.

    Attributes:
        seed: of the noise; the same seed gives the noise that `torch.Generator().manual_seed`
            gives. None draws one from the system, which the result tells.
        variation_seed: a second seed, for a picture near the first one's; drawn from the system
            if None and variation_strength is given.
        variation_strength: how near: 0 for the seed's own picture, 1 for the second one's.
    """

    seed: int | None
    variation_seed: int | None
    variation_strength: float | None


class GuidanceOptions(TypedDict, total=False):
    """How far the network is led, and by what.

    Attributes:
        guidance_scale: classifier-free guidance, 1 or more; 1 (or 0) turns it off. A U-Net that
            was distilled to guide itself is told it.
        guidance_rescale: how far guided outputs are brought to the conditional ones' standard
            deviation, 0 (the default) to 1: against overexposure.
        guidance_interval: where guidance starts and stops, (0, 1) by default, as fractions of the
            calls made. Calls outside it are of the prompts alone: half the work, unless the bundle
            was compiled for a larger batch than the pictures fill.
        perp_neg: lead away from negative prompts only where they are no part of the prompt; a
            third branch, of the empty prompt, is computed for it.
        negative_weight: how far, beside the prompt; 1 by default. Of `perp_neg` alone.
        image_guidance_scale: how closely InstructPix2Pix keeps to its image, 1 or more; 1.5 by
            default. At 1 the network is called for two branches, not three; where guidance is off
            it plays no part.
    """

    guidance_scale: float | None
    guidance_rescale: float | None
    guidance_interval: Sequence[float] | None
    perp_neg: bool | None
    negative_weight: float | None
    image_guidance_scale: float | None


class PromptOptions(TypedDict, total=False):
    """How prompts are read.

    Attributes:
        prompt_syntax: "plain" (the default), text as it is; "a1111" or "compel", weights as these
            read and apply them. See `runtimes.prompts`.
        long_prompts: what becomes of prompts beyond 77 tokens: "truncate", the default of plain
            ones, or "chunks" of 75, side by side.
        clip_skip: layers of the text encoder left out for prompts, not for negative ones; 1 takes
            the states one layer earlier.
        prompt_2: what SDXL's second text encoder reads; the prompt by default.
        negative_prompt_2: likewise in place of the negative prompt.
    """

    prompt_syntax: Syntax | None
    long_prompts: LongPrompts | None
    clip_skip: int | None
    prompt_2: str | Sequence[str] | None
    negative_prompt_2: str | Sequence[str] | None


class ScheduleOptions(TypedDict, total=False):
    """The sampler, and the noise levels that it visits.

    Attributes:
        num_inference_steps: steps of the sampler, 1 to 1000.
        sampler: a name of `runtimes.samplers.sampler_names`.
        schedule: how noise levels lie: "plain", "karras", "exponential", "beta",
            "polyexponential", "lu" or "ays" (align your steps).
        spacing: which timesteps are visited: "leading", "linspace" or "trailing".
        sigmas: noise levels of all steps, descending, and where the last one ends, mostly 0; in
            place of a number of steps and a schedule.
        timesteps: of all steps, descending, likewise.
        sampler_options: over fields of the bundle's scheduler config, as diffusers'
            `from_config(config, **options)`, such as {"rescale_betas_zero_snr": True}; also the
            sampler's own, such as {"eta": 1.0} for ddim.
    """

    num_inference_steps: int | None
    sampler: str | None
    schedule: str | None
    spacing: str | None
    sigmas: Sequence[float] | None
    timesteps: Sequence[float] | None
    sampler_options: Mapping[str, Scalar] | None


class PictureOptions(TypedDict, total=False):
    """What is done with the pictures that are given.

    Attributes:
        strength: share of the steps that are made, 0 to 1: how much of the image is changed. 0.8
            by default; for inpainting 1, which takes nothing over where the mask is white. SDXL's
            are 0.3 and 0.9999, as in diffusers.
        mask_blur: softens the mask by a Gaussian of that radius in pixels. What the U-Net paints
            has hard edges nonetheless; with padding_mask_crop what is pasted back has soft ones.
        padding_mask_crop: paints the surroundings of the mask alone, so many pixels wide, at
            height and width (the model's own by default), and pastes them back into the image.
        noise_level: how much noise an upscaler adds to its image, 0 to 350; 20 by default.
    """

    strength: float | None
    mask_blur: float | None
    padding_mask_crop: int | None
    noise_level: int | None


class MicroConditioningOptions(TypedDict, total=False):
    """What SDXL's U-Nets are told of the picture.

    Attributes:
        original_size: height and width in pixels, as if the picture had been scaled down from them;
            its own by default, as target_size.
        crops_coords_top_left: top and left of what a crop would have kept, (0, 0) by default.
        target_size: height and width in pixels.
        aesthetic_score: how much people like it, 0 to 10; 6 by default. Of refiners.
        negative_original_size: of what guidance leads away from, as those that follow; by default
            the same.
        negative_crops_coords_top_left: likewise; (0, 0) by default for a refiner.
        negative_target_size: likewise.
        negative_aesthetic_score: 2.5 by default.
    """

    original_size: tuple[int, int] | None
    crops_coords_top_left: tuple[int, int] | None
    target_size: tuple[int, int] | None
    aesthetic_score: float | None
    negative_original_size: tuple[int, int] | None
    negative_crops_coords_top_left: tuple[int, int] | None
    negative_target_size: tuple[int, int] | None
    negative_aesthetic_score: float | None


class HandoverOptions(TypedDict, total=False):
    """Which part of the noise schedule is sampled.

    Attributes:
        denoising_end: the share of it after which sampling stops, between 0 and 1, for another
            model to go on; with output_type "latent".
        denoising_start: the share of it that another model has sampled: image_latents are taken as
            they are, with the noise that is left in them.
        refiner_start: the share of it after which the bundle's refiner goes on, 0 to 1; 0.8 by
            default where the bundle has one, 1 for never.
    """

    denoising_end: float | None
    denoising_start: float | None
    refiner_start: float | None


class Options(
    OutputOptions,
    NoiseOptions,
    GuidanceOptions,
    PromptOptions,
    ScheduleOptions,
    PictureOptions,
    MicroConditioningOptions,
    HandoverOptions,
    total=False,
):
    """What settings are made of, beside the prompts; a new topic joins the bases."""


class Given(TypedDict, total=False):
    """Pictures and arrays: the fields of `runtimes.inputs.Inputs`.

    Attributes:
        latents: unit normal noise [n, channels, h, w] in place of the seed's.
        image: what is changed: Pillow images (RGB, L or P, without alpha), or arrays [H, W, 3] of
            uint8 or of floats in [0, 1]. Several give several pictures, of one prompt or of one
            each. Height and width default to the first one's, down to whole multiples of the VAE's
            factor; images of another size are resized, arrays of floats refused.
        mask_image: white where the image is painted anew: Pillow images (L or 1), or arrays [H,
            W], of the image's size. Grey counts as white from the middle on.
        depth_map: larger where the image is nearer, in any unit: Pillow images of 8 or 16 bits, or
            arrays [H, W] of numbers, of any size.
        image_latents: for a latent upscaler in place of `image`, [n, channels, h, w], such as
            another pipeline's `Result.latents`.
        prompt_embeds: in place of `prompt`, what `Pipeline.encode` gave, or saved: a file's path.
            Or an array [prompts, tokens, width].
        negative_prompt_embeds: in place of `negative_prompt`, an array of the same shape.
        pooled_prompt_embeds: beside `prompt_embeds` where SDXL's are given as an array, an array
            [prompts, width].
        negative_pooled_prompt_embeds: likewise beside `negative_prompt_embeds`.
    """

    latents: Floats | None
    image: Pictures | None
    mask_image: Pictures | None
    depth_map: Pictures | None
    image_latents: Floats | None
    prompt_embeds: PromptEmbeddings | Floats | Path | str | None
    negative_prompt_embeds: Floats | None
    pooled_prompt_embeds: Floats | None
    negative_pooled_prompt_embeds: Floats | None


class CallOptions(Options, Given, total=False):
    """What a call of the pipeline takes by name, beside where its pictures go."""


class Changes(Options, total=False):
    """What can be changed of a call that is repeated.

    Attributes:
        prompt: in place of its own: one text or several.
        negative_prompt: likewise.
    """

    prompt: str | Sequence[str] | None
    negative_prompt: str | Sequence[str] | None


def names_of(options: type) -> frozenset[str]:
    """The names that one of the classes above lists, its bases' too."""
    return cast("frozenset[str]", cast("Any", options).__optional_keys__)


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuses options that don't exist.

    Raises:
        UsageError: lists those that do and the closest.
    """
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known)


def split(options: CallOptions) -> tuple[Given, Options]:
    """The pictures and arrays among a call's options, and the others.

    Raises:
        UsageError: one doesn't exist.
    """
    check_names(options, names_of(CallOptions))
    arrays = names_of(Given)
    given = {name: value for name, value in options.items() if name in arrays}
    said = {name: value for name, value in options.items() if name not in arrays}
    return cast("Given", given), cast("Options", said)
