"""Draws the pictures by which a subject is judged, in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.client import Worker
from benchmarks.bench.clip_score import ClipScorer
from benchmarks.bench.entry import Entry, ask_of
from benchmarks.bench.quality import kept_pictures, measure_quality
from benchmarks.bench.reference import (
    NO_REFERENCE,
    Ask,
    Reference,
    check_reference,
    default_reference,
    draw_reference,
)
from benchmarks.bench.results import Picture, Quality, Settings
from benchmarks.bench.shapes_accuracy import check_is_shapes
from runtimes.bundle import Bundle
from runtimes.checks import check_seed
from runtimes.errors import LatedgeError

PROMPTS = (
    "a small blue square above a large green triangle on a black background",
    "a photograph of an astronaut riding a horse",
    "a watercolour of a lighthouse at dawn",
)
"""Drawn beside the user's own prompt where pictures are compared."""


@dataclass(frozen=True)
class Judging:
    """How pictures shall be judged.

    Attributes:
        count: how many are compared with the reference's.
        reference: a Diffusers folder or a bundle; None takes the first bundle in fp32. Either draws
            on the CPU: a GPU's fp32 may be rounded.
        clip: folder of a CLIP model, or None.
        shapes_prompts: how many prompts a class of the shapes model; 0 for none.
        threads: within an operation of the reference and of CLIP.
    """

    count: int
    reference: Path | None = None
    clip: Path | None = None
    shapes_prompts: int = 0
    threads: int | None = None

    def check(self, bundles: Sequence[Bundle], settings: Settings) -> None:
        """Refuses what can't be judged, before any slow work.

        Raises:
            UsageError: says why.
            LatedgeError: the reference can't draw.
        """
        check_seed(settings.seed + self.count - 1)  # each picture has the next seed
        if self.shapes_prompts:
            for bundle in bundles:
                check_is_shapes(bundle, height=settings.height, width=settings.width)
        if self.reference is not None:
            check_reference(self.reference, settings)

    def open(
        self, bundles: Sequence[Bundle], settings: Settings, tell: Callable[[str], None]
    ) -> Judge:
        """Opens CLIP and draws the reference's pictures.

        Raises:
            LatedgeError: either failed.
        """
        texts = (settings.prompt, *PROMPTS)
        asks = [Ask(texts[i % len(texts)], settings.seed + i) for i in range(self.count)]
        open_clip = None
        if self.clip is not None:
            open_clip = partial(ClipScorer.open, self.clip, threads=self.threads, progress=tell)
            open_clip().close()  # is it whole, and exported: before anything is measured
        drawn, missing = self._reference(bundles, asks, settings, tell)
        return Judge(settings, asks, drawn, missing, open_clip, self.shapes_prompts)

    def _reference(
        self,
        bundles: Sequence[Bundle],
        asks: Sequence[Ask],
        settings: Settings,
        tell: Callable[[str], None],
    ) -> tuple[Reference | None, str]:
        """The reference's pictures, or why there are none.

        Where nobody named it, the reference is a subject: its failure is that row's, not the run's.
        """
        default = default_reference(bundles)
        origin = self.reference or (default.path if default else None)
        if origin is None:
            return None, NO_REFERENCE
        tell(f"drawing the reference's pictures with {origin}")
        try:
            drawn = draw_reference(origin, asks, settings, threads=self.threads, progress=tell)
        except LatedgeError as e:
            if self.reference is not None:
                raise
            return None, f"no PSNR and SSIM: {origin}: {e}"
        return drawn, ""


@dataclass(frozen=True)
class Judge:
    """What pictures are compared with, ready.

    Attributes:
        settings: of every picture, but for prompt and seed.
        asks: what every subject draws.
        reference: the pictures that they should equal, or None.
        missing: why there are none.
        clip: opens what scores pictures against their prompts; None doesn't score. It is held no
            longer than a subject is judged: what it has in memory would be in the way of others.
        shapes_prompts: how many prompts a class of the shapes model are judged; 0 for none.
    """

    settings: Settings
    asks: Sequence[Ask]
    reference: Reference | None
    missing: str
    clip: Callable[[], ClipScorer] | None
    shapes_prompts: int

    @property
    def reference_pictures(self) -> tuple[Picture, ...]:
        """Those that the report shows."""
        return kept_pictures(self.asks, self.reference.pictures) if self.reference else ()

    def judge(self, entry: Entry) -> Quality:
        """Lets a subject draw and judges its pictures.

        Raises:
            WorkerError: it failed.
            EngineError: CLIP's engine failed.
        """
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="latedge-bench-"))
            clip = stack.enter_context(closing(self.clip())) if self.clip else None
            worker = stack.enter_context(Worker(entry.program))
            worker.open()
            place = Path(folder) / "picture.npy"
            ask = ask_of(self.settings, picture=place)

            def paint(prompt: str, seed: int) -> NDArray[np.float32]:
                worker.draw(replace(ask, prompt=prompt, seed=seed))
                found: NDArray[np.float32] = np.load(place)
                return found[0]

            return measure_quality(
                paint,
                self.asks,
                self.reference,
                missing=self.missing,
                clip=clip,
                shapes_prompts=self.shapes_prompts,
            )
