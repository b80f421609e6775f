"""Text to pictures: the sampler loop in NumPy over the compiled graphs of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle, open_bundle
from runtimes.checks import check_count, check_output_type
from runtimes.component import Component, NotFiniteError
from runtimes.denoiser import Denoiser
from runtimes.errors import EngineError
from runtimes.guidance import classifier_free
from runtimes.latents import check_latents, latent_shape, to_decoder
from runtimes.metadata import Origin
from runtimes.noise import Generator
from runtimes.pictures import to_pillow, to_unit
from runtimes.prompts import embed
from runtimes.result import Cancelled, Preview, Result
from runtimes.samplers import Latents, Step, make_sampler
from runtimes.schedule import NoiseSchedule
from runtimes.settings import Settings, check_able, settle
from runtimes.timings import Stopwatch
from runtimes.tokenizer import ClipTokenizer
from runtimes.version import VERSION

Floats = NDArray[np.float32]
Callback = Callable[[Preview], bool | None]
"""Called after each step; returning False cancels."""

DECODED_AT_ONCE = 512 * 512
"""Pixels that the VAE decoder gets in one call, if that makes a picture: its activations are the
largest of all, and memory shall not grow with the number of pictures."""


class Pipeline:
    """A bundle, loaded and ready to make pictures. Make one with `open`.

    Attributes:
        bundle: what was opened.
        origin: bundle, engine and device, as they are noted in pictures.
    """

    def __init__(
        self,
        bundle: Bundle,
        tokenizer: ClipTokenizer,
        components: tuple[Component, Component, Component],
        origin: Origin,
    ) -> None:
        """Puts loaded parts together.

        Args:
            bundle: where they come from.
            tokenizer: the text encoder's.
            components: text encoder, U-Net and VAE decoder.
            origin: what is noted in pictures.
        """
        self.bundle = bundle
        self.origin = origin
        self._tokenizer = tokenizer
        self._text_encoder, self._unet, self._vae_decoder = components

    @classmethod
    def open(
        cls, bundle: Path | str | Bundle, *, device: str = "cpu", threads: int | None = None
    ) -> Pipeline:
        """Opens a compiled bundle and loads its text encoder, U-Net and VAE decoder.

        Args:
            bundle: its folder (or that of an export by Optimum), or what `open_bundle` gave; the
                manifest says which engine runs it.
            device: as the engine names it: "cpu", "gpu", "npu", "cuda:0", …
            threads: threads within an operation; None leaves it to the engine.

        Raises:
            BundleError: the bundle is refused, is not compiled, or can't make pictures from text.
            EngineError: the engine's SDK or the device is absent, or loading failed.
            UsageError: a wrong number of threads.
        """
        if threads is not None:
            threads = check_count("threads", threads, 4096)
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        check_able(opened)
        tokenizer = ClipTokenizer.open(opened.path / opened.manifest.tokenizers["text_encoder"])
        with ExitStack() as loaded:

            def load(name: str, roles: tuple[str, ...], output: str) -> Component:
                component = Component.open(
                    opened, name, roles, output, device=device, threads=threads
                )
                loaded.callback(component.engine.close)
                return component

            components = (
                load("text_encoder", ("input_ids",), "last_hidden_state"),
                load("unet", ("sample", "timestep", "encoder_hidden_states"), "out_sample"),
                load("vae_decoder", ("latent_sample",), "sample"),
            )
            unet = components[1].engine
            origin = Origin(
                bundle_sha256=opened.sha256,
                engine=unet.version,
                device=unet.device,
                threads=threads,
                latedge_version=VERSION,
            )
            pipeline = cls(opened, tokenizer, components, origin)
            loaded.pop_all()
        return pipeline

    def close(self) -> None:
        """Frees the engines; calls after it fail."""
        for component in (self._text_encoder, self._unet, self._vae_decoder):
            component.engine.close()

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
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        karras: bool | None = None,
        height: int | None = None,
        width: int | None = None,
        num_images_per_prompt: int = 1,
        latents: Floats | None = None,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
    ) -> Result:
        """Makes pictures from text, as diffusers' StableDiffusionPipeline does.

        What is None comes from the bundle's defaults.

        Args:
            prompt: one text or several; the empty one is allowed.
            negative_prompt: what guidance leads away from: one text for all prompts, or one each.
            num_inference_steps: steps of the sampler, 1 to 1000.
            guidance_scale: classifier-free guidance; 1 or less turns it off.
            seed: of the noise; the same seed gives the noise that `torch.Generator().manual_seed`
                gives. None draws one from the system, which the result tells.
            sampler: a name of `runtimes.samplers.sampler_names`.
            karras: Karras' noise levels or the plain ones; None leaves it to the bundle.
            height: in pixels, a multiple of the VAE's factor; what the bundle was built for, if so.
            width: likewise.
            num_images_per_prompt: pictures of each prompt.
            latents: unit normal noise [n, channels, h, w] in place of the seed's.
            output_type: "pil" for Pillow images, "np" for float32 in [0, 1], "latent".
            callback: called after each step; returning False cancels.

        Raises:
            UsageError: an argument is wrong; says which and what is allowed.
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.

        Warns:
            PromptTruncated: a prompt is too long; says what was dropped.
        """
        check_output_type(output_type)
        settings = settle(
            self.bundle,
            prompt,
            negative_prompt,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            sampler=sampler,
            karras=karras,
            height=height,
            width=width,
            num_images_per_prompt=num_images_per_prompt,
        )
        return self.run(settings, latents=latents, output_type=output_type, callback=callback)

    def run(
        self,
        settings: Settings,
        *,
        latents: Floats | None = None,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
    ) -> Result:
        """Makes the pictures of settings that `settle` gave; else as a call.

        Raises:
            UsageError: the latents don't fit.
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.
        """
        watch = Stopwatch()
        with watch.lap("total"):
            finished = self._sample(settings, latents, callback, watch)
            images = finished
            if output_type != "latent":
                with watch.lap("vae_decoder"):
                    unit = self._decode(finished)
                    images = unit if output_type == "np" else to_pillow(unit)
        return Result(images, finished, settings, self.origin, watch.timings())

    def _sample(
        self,
        settings: Settings,
        latents: object,
        callback: Callback | None,
        watch: Stopwatch,
    ) -> Floats:
        """From noise to the latents of the pictures."""
        config = self.bundle.scheduler_config
        sampler = make_sampler(settings.sampler, config, karras=settings.karras)
        levels = sampler.levels(NoiseSchedule.from_config(config), settings.num_inference_steps)
        space = self.bundle.manifest.latents
        shape = latent_shape(space, settings.count, settings.height, settings.width)
        generator = Generator(settings.seed)
        noise = generator.randn(shape) if latents is None else check_latents(latents, shape)
        denoiser = self._denoiser(settings, watch)
        with watch.lap("loop"):
            x = noise * np.float32(sampler.init_noise_sigma(levels))
            for step in _naming_steps(sampler.sample(denoiser, x, levels, generator.randn)):
                x = step.x
                if callback is not None:
                    with watch.lap("callback"):
                        self._call_back(callback, step)
        return x

    def _denoiser(self, settings: Settings, watch: Stopwatch) -> Denoiser:
        unet, apart = self._unet, self._unet.batch == 1

        def predict(x: Latents, timestep: float, context: Latents) -> Latents:
            with watch.lap("unet"):
                return unet(sample=x, timestep=np.array([timestep]), encoder_hidden_states=context)

        cond, uncond = embed(self._tokenizer, self._text_encoder, settings, watch)
        guided = classifier_free(
            predict,
            cond,
            uncond,
            settings.guidance_scale,
            halves="apart" if apart else "together",
        )
        return Denoiser(guided, self.bundle.manifest.prediction_type)

    def _decode(self, latents: Floats) -> Floats:
        """Latents to pictures with values in [0, 1]: [n, H, W, 3]."""
        space = self.bundle.manifest.latents
        scaled = to_decoder(latents, space)
        pixels = scaled.shape[2] * scaled.shape[3] * space.vae_factor**2
        at_once = max(1, DECODED_AT_ONCE // pixels, self._vae_decoder.batch or 1)
        starts = range(0, len(scaled), at_once)
        parts = [self._vae_decoder(latent_sample=scaled[i : i + at_once]) for i in starts]
        return to_unit(np.concatenate(parts))

    def _call_back(self, callback: Callback, step: Step) -> None:
        preview = Preview(
            index=step.index,
            total=step.total,
            timestep=step.level.timestep,
            latents=step.x,
            denoised=step.denoised,
            decode=lambda latents: to_pillow(self._decode(latents)),
        )
        if callback(preview) is False:
            raise Cancelled(f"cancelled by the callback at step {step.index + 1} of {step.total}.")


def _naming_steps(steps: Iterator[Step]) -> Iterator[Step]:
    """Passes steps on; a component's bad values are told with the step that they came at."""
    done, of_total = 0, ""
    try:
        for step in steps:
            yield step
            done, of_total = step.index + 1, f" of {step.total}"
    except NotFiniteError as e:
        raise EngineError(
            f"{e} at step {done + 1}{of_total}. Where the bundle or the device computes in fp16, "
            "take one that computes in fp32."
        ) from e
