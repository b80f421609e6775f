"""Text to pictures: the sampler loop in NumPy over the compiled graphs of a bundle."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from runtimes.abilities import check_able, needed
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
from runtimes.inputs import NO_INPUTS, Inputs
from runtimes.machine import machine
from runtimes.metadata import Origin
from runtimes.noise import Generator
from runtimes.options import CallOptions, Changes, split
from runtimes.parts import Memory, Parts, check_memory
from runtimes.pictures import to_pillow
from runtimes.plan import make_plan
from runtimes.process_memory import peak_rss_bytes
from runtimes.prompts import LongPrompts, Syntax
from runtimes.prompts.branches import Texts
from runtimes.prompts.check import check_readable, warn_unused
from runtimes.prompts.embed import encode, reader_of
from runtimes.prompts.encoders import LATENT_UPSCALING, UNET, check_clip_skip
from runtimes.prompts.given import given_inputs
from runtimes.prompts.plan import check_long_prompts, check_syntax
from runtimes.prompts.settle import second_texts, takes_zeros, told
from runtimes.prompts.untold import check_takes_text
from runtimes.read_inputs import ReadInputs, check_same
from runtimes.recorded import NotTheSame, read_recorded
from runtimes.result import Result
from runtimes.sampling import Callback, decoded, sample
from runtimes.settings import Settings
from runtimes.settle import settle
from runtimes.span import stages_of
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
                manifest says which engine runs it. What was built for several sizes is loaded now
                for the one that is meant (`Bundle.at`), and for others when a call is of them.
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
            opened, needed(opened), device=device, threads=threads, memory=check_memory(memory)
        )
        smallest = _of_the_unets_engine(opened)
        with parts.use(smallest, graph=opened.graph_name(smallest)) as component:
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
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
        **options: Unpack[CallOptions],
    ) -> Result:
        """Makes pictures, as diffusers' pipelines of the task do.

        What is absent or None comes from the bundle's defaults. The pictures that are given decide
        the task: none for text to image, an image for image to image, a mask_image with it for
        inpainting, a depth_map with it for depth to image.

        Args:
            prompt: one text or several; the empty one is allowed. Nothing, of a bundle that takes
                no text.
            negative_prompt: what guidance leads away from: one text for all prompts, or one each.
            output_type: "pil" for Pillow images, "np" for float32 in [0, 1], "latent".
            callback: called after each step; returning False cancels.
            options: all else: how the pictures are made, and the pictures and arrays that they
                are made from; each is told in `runtimes.options`.

        Raises:
            UsageError: an argument is wrong; says which and what is allowed.
            EngineError: a component failed or gave NaN; says at which step.
            Cancelled: the callback returned False.

        Warns:
            PromptTruncated: a prompt is too long; says what was dropped.
            NegativePromptUnused: there is a negative prompt, and guidance is off.
        """
        given, said = split(options)
        inputs = ReadInputs(given_inputs(given))
        settings = settle(
            self.bundle,
            prompt,
            negative_prompt,
            inputs=inputs,
            tokenizers=self._parts.tokenizers,
            **said,
        )
        return self.run(settings, inputs, output_type=output_type, callback=callback)

    def repeat(
        self,
        picture: Path | str,
        *,
        inputs: Inputs | ReadInputs = NO_INPUTS,
        output_type: Literal["pil", "np", "latent"] = "pil",
        callback: Callback | None = None,
        **changes: Unpack[Changes],
    ) -> Result:
        """Makes a picture again that latedge wrote, by what its file says.

        The same bits come of the same bundle, engine, machine, device and number of threads. A
        picture of a batch costs the whole batch.

        Args:
            picture: the PNG.
            inputs: the pictures and arrays that the call took, where it took some.
            output_type: as of a call.
            callback: as of a call.
            changes: options of a call, and prompts, that take the place of the recorded ones.
                Where they change how many pictures there are, the result holds all of them.

        Raises:
            UsageError: the file holds no record that this version understands, or what it asks for
                can't be done with this bundle.
            EngineError, Cancelled: as a call.

        Warns:
            NotTheSame: one line for each thing that differs from when the picture was made.
        """
        recorded = read_recorded(picture)
        read = ReadInputs.of(inputs)
        settings = recorded.settle(self.bundle, read, changes)
        for line in recorded.differences(settings, self.origin, changes):
            warnings.warn(line, NotTheSame, stacklevel=2)
        result = self.run(settings, read, output_type=output_type, callback=callback)
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
        prompt_2: str | Sequence[str] | None = None,
        negative_prompt_2: str | Sequence[str] | None = None,
    ) -> PromptEmbeddings:
        """The text embeddings of a call, to be saved, or given to one as `prompt_embeds`.

        The pictures are the same, bit by bit. Args: as of a call.

        Returns:
            Those of the prompts and of the negative prompts; without the latter for a U-Net that
            guides itself.

        Raises:
            UsageError, EngineError: as a call, and where the bundle takes no text.

        Warns:
            PromptTruncated: a prompt is too long; says what was dropped.
        """
        check_takes_text(self.bundle)
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
            prompt_2=second_texts(self.bundle, "prompt_2", prompt_2, prompts),
            negative_prompt_2=second_texts(
                self.bundle, "negative_prompt_2", negative_prompt_2, negatives
            ),
            zeros=takes_zeros(self.bundle) and not told(negative_prompt, negative_prompt_2),
        )
        skipped = check_clip_skip(self.bundle, clip_skip)
        check_readable(self.bundle, texts, NO_INPUTS, skipped, self._parts.tokenizers)
        reader = reader_of(self.bundle, UNET, skipped, texts, NO_INPUTS)
        (found,) = encode(self._parts, [reader], texts, Stopwatch(), caller=3)
        return PromptEmbeddings(found.cond, found.uncond, found.pooled_cond, found.pooled_uncond)

    def run(
        self,
        settings: Settings,
        inputs: Inputs | ReadInputs = NO_INPUTS,
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
        read = ReadInputs.of(inputs)
        check_same(settings, read)
        warn_unused(settings, read.given)
        watch = Stopwatch()
        with self._parts.turn(), watch.lap("total"):
            call = self._call(settings, read, watch)
            start, finished = sample(call, callback)
            images = finished
            if output_type != "latent":
                unit = decoded(call, finished, watch)
                if start.finish is not None:
                    unit = start.finish(unit)
                images = unit if output_type == "np" else to_pillow(unit)
        peak = peak_rss_bytes()
        return Result(images, finished, settings, self.origin, watch.timings(), peak)

    def _call(self, settings: Settings, inputs: ReadInputs, watch: Stopwatch) -> Call:
        steps = settings.num_inference_steps
        bundle = self.bundle.at(settings.height, settings.width)
        plan = make_plan(bundle, settings.sampler, steps, settings.choice)
        return Call(
            bundle=bundle,
            parts=self._parts,
            settings=settings,
            inputs=inputs,
            sampler=plan.sampler,
            levels=plan.levels,
            prediction_type=plan.prediction_type,
            stages=stages_of(bundle, settings, plan),
            generator=Generator(settings.seed),
            watch=watch,
        )


def _of_the_unets_engine(bundle: Bundle) -> str:
    """The first component that the U-Net's engine runs: the smallest, where one runs them all."""
    engine = bundle.graph("unet").engine
    return next(name for name in needed(bundle) if bundle.graph(name).engine == engine)
