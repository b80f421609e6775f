"""Text to pictures: the sampler loop in NumPy over the compiled graphs of a bundle."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle, open_bundle
from runtimes.checks import (
    check_callback,
    check_count,
    check_negative_prompts,
    check_output_type,
    check_prompts,
)
from runtimes.embeddings_file import PromptEmbeddings
from runtimes.errors import UsageError
from runtimes.guidance.embedding import guides_itself
from runtimes.inputs import Inputs, Pictures
from runtimes.machine import machine
from runtimes.metadata import Origin
from runtimes.noise import Generator
from runtimes.parts import Memory, Parts, check_memory
from runtimes.pictures import to_pillow
from runtimes.plan import make_plan
from runtimes.process_memory import peak_rss_bytes
from runtimes.prompts import LongPrompts, Syntax
from runtimes.prompts.branches import Texts, branches_of
from runtimes.prompts.check import check_readable, warn_unused
from runtimes.prompts.embed import Reader, encode
from runtimes.prompts.encoders import LATENT_UPSCALING, check_clip_skip, text_encoders
from runtimes.prompts.given import with_embeddings
from runtimes.prompts.plan import check_long_prompts, check_syntax
from runtimes.recorded import NotTheSame, read_recorded
from runtimes.result import Result
from runtimes.samplers.choice import Scalar
from runtimes.sampling import Callback, decoded, sample
from runtimes.settings import Settings
from runtimes.settle import NEEDED, NO_INPUTS, check_able, check_inputs, settle
from runtimes.tasks import Call
from runtimes.timings import Stopwatch
from runtimes.version import VERSION

Floats = NDArray[np.float32]


class Pipeline:
    """A bundle, ready to make pictures. Make one with `open`.

    Calls from several threads at once are safe, and each gives what it gives alone; see `open` on
    which run at once.

    Attributes:
        bundle: what was opened.
        origin: bundle, engine and device, as they are noted in pictures.
    """

    def __init__(self, bundle: Bundle, parts: Parts, origin: Origin) -> None:
        """Puts loaded parts together.

        Args:
            bundle: where they come from.
            parts: its components.
            origin: what is noted in pictures.
        """
        self.bundle = bundle
        self.origin = origin
        self._parts = parts

    @classmethod
    def open(
        cls,
        bundle: Path | str | Bundle,
        *,
        device: str = "cpu",
        threads: int | None = None,
        memory: Memory = "high",
    ) -> Pipeline:
        """Opens a compiled bundle and, with memory "high", loads what every call takes.

        Args:
            bundle: its folder (or that of an export by Optimum), or what `open_bundle` gave; the
                manifest says which engine runs it.
            device: as the engine names it: "cpu", "gpu", "npu", "cuda:0", …
            threads: threads within an operation; None leaves it to the engine.
            memory: "high" loads text encoder, U-Net and VAE decoder now and keeps them, and calls
                from several threads run at once. "low" loads each component for its own stage of
                a call and frees it after, which every call pays for with the time of loading;
                calls from several threads then run one after the other.

        Raises:
            BundleError: the bundle is refused, is not compiled, or can't make pictures.
            EngineError: the engine's SDK or the device is absent, or loading failed.
            UsageError: a wrong number of threads, or an unknown `memory`.
        """
        if threads is not None:
            threads = check_count("threads", threads, 4096)
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        check_able(opened)
        parts = Parts.open(
            opened, NEEDED, device=device, threads=threads, memory=check_memory(memory)
        )
        with parts.use(_of_the_unets_engine(opened)) as component:
            origin = Origin(
                bundle_sha256=opened.sha256,
                engine=component.engine.version,
                device=component.engine.device,
                threads=threads,
                latedge_version=VERSION,
                machine=machine(),
            )
        return cls(opened, parts, origin)

    def close(self) -> None:
        """Frees the engines; calls after it fail.

        Calls that run in other threads end with an error at their next step, or finish where they
        have none left; they are waited for. Called from a call's own callback, this ends that call
        and doesn't wait.
        """
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_images_per_prompt: int = 1,
        latents: Floats | None = None,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
        image: Pictures | None = None,
        mask_image: Pictures | None = None,
        depth_map: Pictures | None = None,
        strength: float | None = None,
        mask_blur: float | None = None,
        padding_mask_crop: int | None = None,
        variation_seed: int | None = None,
        variation_strength: float | None = None,
        vae_tile: int | None = None,
        guidance_rescale: float | None = None,
        guidance_interval: Sequence[float] | None = None,
        perp_neg: bool = False,
        negative_weight: float | None = None,
        prompt_syntax: Syntax | None = None,
        long_prompts: LongPrompts | None = None,
        clip_skip: int | None = None,
        prompt_embeds: PromptEmbeddings | Floats | Path | str | None = None,
        negative_prompt_embeds: Floats | None = None,
        noise_level: int | None = None,
        schedule: str | None = None,
        spacing: str | None = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Sequence[float] | None = None,
        sampler_options: Mapping[str, Scalar] | None = None,
        image_latents: Floats | None = None,
    ) -> Result:
        """Makes pictures, as diffusers' pipelines of the task do.

        What is None comes from the bundle's defaults. The pictures that are given decide the task:
        none for text to image, an image for image to image, a mask_image with it for inpainting, a
        depth_map with it for depth to image.

        Args:
            prompt: one text or several; the empty one is allowed.
            negative_prompt: what guidance leads away from: one text for all prompts, or one each.
            num_inference_steps: steps of the sampler, 1 to 1000.
            guidance_scale: classifier-free guidance, 1 or more; 1 (or 0) turns it off. A U-Net
                that was distilled to guide itself is told it.
            seed: of the noise; the same seed gives the noise that `torch.Generator().manual_seed`
                gives. None draws one from the system, which the result tells.
            sampler: a name of `runtimes.samplers.sampler_names`.
            height: in pixels, a multiple of the VAE's factor; what the bundle was built for, if so.
            width: likewise.
            num_images_per_prompt: pictures of each prompt.
            latents: unit normal noise [n, channels, h, w] in place of the seed's.
            output_type: "pil" for Pillow images, "np" for float32 in [0, 1], "latent".
            callback: called after each step; returning False cancels.
            image: what is changed: Pillow images (RGB, L or P, without alpha), or arrays [H, W, 3]
                of uint8 or of floats in [0, 1]. Several give several pictures, of one prompt or of
                one each. Height and width default to the first one's, down to whole multiples of
                the VAE's factor; images of another size are resized, arrays of floats refused.
            mask_image: white where the image is painted anew: Pillow images (L or 1), or arrays [H,
                W], of the image's size. Grey counts as white from the middle on.
            depth_map: larger where the image is nearer, in any unit: Pillow images of 8 or 16
                bits, or arrays [H, W] of numbers, of any size.
            strength: share of the steps that are made, 0 to 1: how much of the image is changed.
                0.8 if None; for inpainting 1, which takes nothing over where the mask is white.
            mask_blur: softens the mask by a Gaussian of that radius in pixels. What the U-Net
                paints has hard edges nonetheless; with padding_mask_crop what is pasted back has
                soft ones.
            padding_mask_crop: paints the surroundings of the mask alone, so many pixels wide, at
                height and width (the model's own if None), and pastes them back into the image.
            variation_seed: a second seed, for a picture near the first one's; drawn from the system
                if None and variation_strength is given.
            variation_strength: how near: 0 for the seed's own picture, 1 for the second one's.
            vae_tile: pixels of the tiles' side in which the VAE works; None for whole pictures up
                to 512×512 or the bundle's own size, and tiles above.
            guidance_rescale: how far guided outputs are brought to the conditional ones' standard
                deviation, 0 (the default) to 1: against overexposure.
            guidance_interval: where guidance starts and stops, (0, 1) by default, as fractions of
                the calls made. Calls outside it are of the prompts alone: half the work, unless
                the bundle was compiled for a larger batch than the pictures fill.
            perp_neg: lead away from negative prompts only where they are no part of the prompt;
                a third branch, of the empty prompt, is computed for it.
            negative_weight: how far, beside the prompt; 1 by default. Of `perp_neg` alone.
            prompt_syntax: "plain" (the default), text as it is; "a1111" or "compel", weights as
                these read and apply them. See `runtimes.prompts`.
            long_prompts: what becomes of prompts beyond 77 tokens: "truncate", the default of
                plain ones, or "chunks" of 75, side by side.
            clip_skip: layers of the text encoder left out; 1 takes the penultimate one's states.
            prompt_embeds: in place of `prompt`, what `encode` gave, or saved: a file's path. Or an
                array [prompts, tokens, width].
            negative_prompt_embeds: in place of `negative_prompt`, an array of the same shape.
            noise_level: how much noise an upscaler adds to its image, 0 to 350; 20 if None.
            schedule: how noise levels lie: "plain", "karras", "exponential", "beta",
                "polyexponential", "lu" or "ays" (align your steps).
            spacing: which timesteps are visited: "leading", "linspace" or "trailing".
            sigmas: noise levels of all steps, descending, and where the last one ends, mostly 0; in
                place of a number of steps and a schedule.
            timesteps: of all steps, descending, likewise.
            sampler_options: over fields of the bundle's scheduler config, as diffusers'
                `from_config(config, **options)`, such as {"rescale_betas_zero_snr": True}; also the
                sampler's own, such as {"eta": 1.0} for ddim.
            image_latents: for a latent upscaler in place of `image`, [n, channels, h, w], such as
                another pipeline's `Result.latents`.

        Raises:
            UsageError: an argument is wrong; says which and what is allowed.
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.

        Warns:
            PromptTruncated: a prompt is too long; says what was dropped.
            NegativePromptUnused: there is a negative prompt, and guidance is off.
        """
        given = Inputs(
            latents=latents,
            image=image,
            mask_image=mask_image,
            depth_map=depth_map,
            image_latents=image_latents,
        )
        inputs = with_embeddings(given, prompt_embeds, negative_prompt_embeds)
        settings = settle(
            self.bundle,
            prompt,
            negative_prompt,
            inputs=inputs,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            sampler=sampler,
            height=height,
            width=width,
            num_images_per_prompt=num_images_per_prompt,
            strength=strength,
            mask_blur=mask_blur,
            padding_mask_crop=padding_mask_crop,
            variation_seed=variation_seed,
            variation_strength=variation_strength,
            vae_tile=vae_tile,
            guidance_rescale=guidance_rescale,
            guidance_interval=guidance_interval,
            perp_neg=perp_neg,
            negative_weight=negative_weight,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
            clip_skip=clip_skip,
            tokenizers=self._parts.tokenizers,
            noise_level=noise_level,
            schedule=schedule,
            spacing=spacing,
            sigmas=sigmas,
            timesteps=timesteps,
            sampler_options=sampler_options,
        )
        return self.run(settings, inputs, output_type=output_type, callback=callback)

    def repeat(
        self,
        picture: Path | str,
        *,
        inputs: Inputs = NO_INPUTS,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
        **changes: Any,
    ) -> Result:
        """Makes a picture again that latedge wrote, by what its file says.

        The same bits come of the same bundle, engine, machine, device and number of threads. A
        picture of a batch costs the whole batch.

        Args:
            picture: the PNG.
            inputs: the pictures and arrays that the call took, where it took some.
            output_type: as of a call.
            callback: as of a call.
            changes: arguments of a call that take the place of the recorded ones, such as a seed.
                Where they change how many pictures there are, the result holds all of them.

        Raises:
            UsageError: the file holds no record that this version understands, or what it asks for
                can't be done with this bundle.
            EngineError, Cancelled: as a call.

        Warns:
            NotTheSame: one line for each thing that differs from when the picture was made.
        """
        recorded = read_recorded(picture)
        settings = recorded.settle(self.bundle, inputs, changes)
        for line in recorded.differences(settings, self.origin, changes):
            warnings.warn(line, NotTheSame, stacklevel=2)
        result = self.run(settings, inputs, output_type=output_type, callback=callback)
        index = recorded.index_in(changes)
        return result if index is None else result.picture(index)

    def encode(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        *,
        prompt_syntax: Syntax | None = None,
        long_prompts: LongPrompts | None = None,
        clip_skip: int | None = None,
    ) -> PromptEmbeddings:
        """The text embeddings of a call, to be saved, or given to one as `prompt_embeds`.

        The pictures are the same, bit by bit. Args: as of a call.

        Returns:
            Those of the prompts and of the negative prompts; without the latter for a U-Net that
            guides itself.

        Raises:
            UsageError, EngineError: as a call.

        Warns:
            PromptTruncated: a prompt is too long; says what was dropped.
        """
        if LATENT_UPSCALING in self.bundle.manifest.tasks:
            raise UsageError(
                f"{LATENT_UPSCALING} takes a pooled embedding beside those of the tokens, which "
                "can't be given or saved; give prompts."
            )
        prompts = check_prompts(prompt)
        negatives = check_negative_prompts(negative_prompt, len(prompts))
        syntax = check_syntax(prompt_syntax)
        texts = Texts(
            prompt=prompts,
            negative_prompt=None if guides_itself(self.bundle) else negatives,
            empty=False,
            prompt_syntax=syntax,
            long_prompts=check_long_prompts(long_prompts, syntax),
        )
        skipped = check_clip_skip(self.bundle, clip_skip)
        check_readable(self.bundle, texts, NO_INPUTS, skipped, self._parts.tokenizers)
        reader = Reader(text_encoders(self.bundle, skipped), branches_of(texts, NO_INPUTS))
        (found,) = encode(self._parts, [reader], texts, Stopwatch(), caller=3)
        return PromptEmbeddings(found.cond, found.uncond, found.pooled_cond, found.pooled_uncond)

    def run(
        self,
        settings: Settings,
        inputs: Inputs = NO_INPUTS,
        *,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
    ) -> Result:
        """Makes the pictures of settings that `settle` gave for the same inputs; else as a call.

        Raises:
            UsageError: the inputs' pictures are others than the settings were made for.
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.
        """
        check_output_type(output_type)
        check_callback(callback)
        if settings.padding_mask_crop is not None and output_type == "latent":
            raise UsageError(
                "output_type 'latent' can't be given with padding_mask_crop: the picture is put "
                "together of pixels; take 'pil' or 'np', or the result's latents of the part."
            )
        check_inputs(settings, inputs)
        warn_unused(settings, inputs)
        watch = Stopwatch()
        with self._parts.turn(), watch.lap("total"):
            call = self._call(settings, inputs, watch)
            start, finished = sample(call, callback)
            images = finished
            if output_type != "latent":
                unit = decoded(call, finished, watch)
                if start.finish is not None:
                    unit = start.finish(unit)
                images = unit if output_type == "np" else to_pillow(unit)
        peak = peak_rss_bytes()
        return Result(images, finished, settings, self.origin, watch.timings(), peak)

    def _call(self, settings: Settings, inputs: Inputs, watch: Stopwatch) -> Call:
        steps = settings.num_inference_steps
        plan = make_plan(self.bundle, settings.sampler, steps, settings.choice)
        return Call(
            bundle=self.bundle,
            parts=self._parts,
            settings=settings,
            inputs=inputs,
            sampler=plan.sampler,
            levels=plan.levels,
            prediction_type=plan.prediction_type,
            num_train_timesteps=plan.num_train_timesteps,
            generator=Generator(settings.seed),
            watch=watch,
        )


def _of_the_unets_engine(bundle: Bundle) -> str:
    """The first component that the U-Net's engine runs: the smallest, where one runs them all."""
    engine = bundle.graph("unet").engine
    return next(name for name in NEEDED if bundle.graph(name).engine == engine)
