"""Text to pictures: the sampler loop in NumPy over the compiled graphs of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle, open_bundle
from runtimes.checks import check_count, check_output_type
from runtimes.component import Component, NotFiniteError
from runtimes.denoiser import Denoiser, network_output
from runtimes.errors import EngineError
from runtimes.guidance import Condition, classifier_free
from runtimes.inputs import Inputs
from runtimes.latents import to_decoder
from runtimes.metadata import Origin
from runtimes.noise import Generator
from runtimes.parts import Parts
from runtimes.pictures import to_pillow, to_unit
from runtimes.prompts import Embeddings, embed
from runtimes.result import Cancelled, Preview, Result
from runtimes.samplers import Latents, Run, Step, make_sampler, noise_schedule
from runtimes.settings import Settings
from runtimes.settle import NEEDED, NO_INPUTS, check_able, settle
from runtimes.tasks import Call, Start, load_task
from runtimes.timings import Stopwatch
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
        cls, bundle: Path | str | Bundle, *, device: str = "cpu", threads: int | None = None
    ) -> Pipeline:
        """Opens a compiled bundle and loads its text encoder, U-Net and VAE decoder.

        Args:
            bundle: its folder (or that of an export by Optimum), or what `open_bundle` gave; the
                manifest says which engine runs it.
            device: as the engine names it: "cpu", "gpu", "npu", "cuda:0", …
            threads: threads within an operation; None leaves it to the engine.

        Raises:
            BundleError: the bundle is refused, is not compiled, or can't make pictures.
            EngineError: the engine's SDK or the device is absent, or loading failed.
            UsageError: a wrong number of threads.
        """
        if threads is not None:
            threads = check_count("threads", threads, 4096)
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        check_able(opened)
        parts = Parts.open(opened, NEEDED, device=device, threads=threads)
        with parts.use("unet") as unet:
            origin = Origin(
                bundle_sha256=opened.sha256,
                engine=unet.engine.version,
                device=unet.engine.device,
                threads=threads,
                latedge_version=VERSION,
            )
        return cls(opened, parts, origin)

    def close(self) -> None:
        """Frees the engines; calls after it fail."""
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
        """Makes pictures, as diffusers' pipelines of the task do.

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
        inputs = Inputs(latents=latents)
        settings = settle(
            self.bundle,
            prompt,
            negative_prompt,
            inputs=inputs,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            sampler=sampler,
            karras=karras,
            height=height,
            width=width,
            num_images_per_prompt=num_images_per_prompt,
        )
        return self.run(settings, inputs, output_type=output_type, callback=callback)

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
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.
        """
        watch = Stopwatch()
        with watch.lap("total"):
            start, finished = self._sample(self._call(settings, inputs, watch), callback)
            images = finished
            if output_type != "latent":
                with watch.lap("vae_decoder"):
                    unit = self._decode(finished)
                if start.finish is not None:
                    unit = start.finish(unit)
                images = unit if output_type == "np" else to_pillow(unit)
        return Result(images, finished, settings, self.origin, watch.timings())

    def _call(self, settings: Settings, inputs: Inputs, watch: Stopwatch) -> Call:
        config = self.bundle.scheduler_config
        sampler = make_sampler(settings.sampler, config, karras=settings.karras)
        return Call(
            bundle=self.bundle,
            parts=self._parts,
            settings=settings,
            inputs=inputs,
            sampler=sampler,
            levels=sampler.levels(
                noise_schedule(settings.sampler, config), settings.num_inference_steps
            ),
            generator=Generator(settings.seed),
            watch=watch,
        )

    def _sample(self, call: Call, callback: Callback | None) -> tuple[Start, Floats]:
        """From noise, or what the task starts with, to the latents of the pictures."""
        with self._parts.use("text_encoder") as text_encoder:
            tokenizer = self._parts.tokenizers["text_encoder"]
            cond, uncond = embed(tokenizer, text_encoder, call.settings, call.watch)
        start = load_task(call.settings.task).start(call)
        with self._parts.use("unet") as unet:
            denoiser = self._denoiser(call, unet, start, cond, uncond)
            with call.watch.lap("loop"):
                return start, self._loop(call, denoiser, start, callback)

    def _loop(
        self, call: Call, denoiser: Denoiser, start: Start, callback: Callback | None
    ) -> Floats:
        x, begin = start.x, start.begin
        run = call.sampler.sample(denoiser, x, call.levels, call.generator, begin=begin)
        sent: Floats | None = None
        total = len(call.levels) - 1 - begin
        for done in range(total):
            step = _next_step(run, sent, done, total)
            x = step.x
            sent = start.hold(x, step.index) if start.hold is not None else None
            x = x if sent is None else sent
            if callback is not None:
                with call.watch.lap("callback"):
                    self._call_back(callback, step, x, done, total)
        return x

    def _denoiser(
        self,
        call: Call,
        unet: Component,
        start: Start,
        cond: Embeddings,
        uncond: Embeddings | None,
    ) -> Denoiser:
        def predict(x: Latents, timestep: float, condition: Condition) -> Latents:
            concat = condition.concat
            sample = x if concat is None else np.concatenate([x, concat], axis=1)
            with call.watch.lap("unet"):
                return unet(
                    sample=sample,
                    timestep=np.array([timestep]),
                    encoder_hidden_states=condition.context,
                    **condition.feeds,
                )

        def condition(context: Embeddings) -> Condition:
            return Condition(context, start.concat, start.feeds)

        guided = classifier_free(
            predict,
            condition(cond),
            None if uncond is None else condition(uncond),
            call.settings.guidance_scale,
            halves="apart" if unet.batch == 1 else "together",
        )
        predicted = self.bundle.manifest.prediction_type
        return Denoiser(guided, network_output(self.bundle.scheduler_config, predicted))

    def _decode(self, latents: Floats) -> Floats:
        """Latents to pictures with values in [0, 1]: [n, H, W, 3]."""
        space = self.bundle.manifest.latents
        scaled = to_decoder(latents, space)
        pixels = scaled.shape[2] * scaled.shape[3] * space.vae_factor**2
        with self._parts.use("vae_decoder") as decoder:
            at_once = max(1, DECODED_AT_ONCE // pixels, decoder.batch or 1)
            starts = range(0, len(scaled), at_once)
            parts = [decoder(latent_sample=scaled[i : i + at_once]) for i in starts]
        return to_unit(np.concatenate(parts))

    def _call_back(self, callback: Callback, step: Step, x: Floats, done: int, total: int) -> None:
        preview = Preview(
            index=done,
            total=total,
            timestep=step.level.timestep,
            latents=x,
            denoised=step.denoised,
            decode=lambda latents: to_pillow(self._decode(latents)),
        )
        if callback(preview) is False:
            raise Cancelled(f"cancelled by the callback at step {done + 1} of {total}.")


def _next_step(run: Run, sent: Floats | None, done: int, total: int) -> Step:
    """The next step; a component's bad values are told with the step that they came at."""
    try:
        return next(run) if sent is None else run.send(sent)
    except NotFiniteError as e:
        raise EngineError(
            f"{e} at step {done + 1} of {total}. Where the bundle or the device computes in fp16, "
            "take one that computes in fp32."
        ) from e
