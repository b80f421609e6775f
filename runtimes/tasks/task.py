"""What a task is: where the sampler starts, what the U-Net sees beside latents, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.component import Component
from runtimes.engine import Array
from runtimes.noise import Generator
from runtimes.parts import Parts
from runtimes.read_inputs import ReadInputs
from runtimes.samplers import Latents, Sampler
from runtimes.schedule import Level
from runtimes.settings import Settings
from runtimes.span import Stage
from runtimes.timings import Stopwatch

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Call:
    """One call of the pipeline, checked and ready to run.

    Attributes:
        bundle: what runs.
        parts: its components.
        settings: what was asked.
        inputs: the pictures and arrays that came with it, read.
        sampler: the sampler, made.
        levels: the levels that it visits.
        generator: all the call's random numbers, in the order in which diffusers draws them.
        watch: takes the stages' times.
        prediction_type: what the U-Net predicts; a key of `runtimes.denoiser.PREDICTION_TYPES`.
        stages: the U-Nets that are called, one after the other, and at which of the levels.
    """

    bundle: Bundle
    parts: Parts
    settings: Settings
    inputs: ReadInputs
    sampler: Sampler
    levels: tuple[Level, ...]
    generator: Generator
    watch: Stopwatch
    prediction_type: str
    stages: tuple[Stage, ...]

    def use(self, name: str, watch: Stopwatch | None = None) -> AbstractContextManager[Component]:
        """A component for as long as the block lasts: its graph for the size of the call.

        Args:
            name: the component.
            watch: takes the time that loading takes, in place of the call's.
        """
        watch = self.watch if watch is None else watch
        return self.parts.use(name, watch, graph=self.bundle.graph_name(name))

    @property
    def begin(self) -> int:
        """The first level that is visited."""
        return self.stages[0].span.begin

    @property
    def calls(self) -> int:
        """How many levels are visited."""
        return sum(stage.span.calls for stage in self.stages)


@dataclass(frozen=True)
class Start:
    """What a task hands to the loop.

    Attributes:
        x: latents at the first level that is visited, in the sampler's scaling: [n, channels, h,
            w].
        concat: channels that follow the latents in the U-Net's input: [n, k, h, w].
        concat_scaled: whether `concat` is scaled as the sampler's levels scale latents, and not
            left as it is.
        feeds: further inputs of the U-Net by role; samples along the first axis of those with
            two axes or more.
        hold: (x, index) → x, after the call at `levels[index]`: puts back what must not change.
        finish: decoded pictures [n, H, W, 3] in [0, 1] → the pictures of the result.
        of_text: pooled text embeddings [n, d] of a branch → inputs of the U-Net of that branch, as
            `feeds`; None where it takes none.
    """

    x: Latents
    concat: Latents | None = None
    concat_scaled: bool = False
    feeds: Mapping[str, Array] = field(default_factory=dict[str, Any])
    hold: Callable[[Latents, int], Latents] | None = None
    finish: Callable[[Floats], Floats] | None = None
    of_text: Callable[[Floats], Mapping[str, Array]] | None = None


class Task(Protocol):
    """A way to use a latent diffusion model. What is wrong with the inputs shows in `check`."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """Refuses what can't be done, before anything is loaded.

        Raises:
            UsageError: an input or setting is wrong for the task.
            BundleError: the bundle lacks what the task takes.
        """
        ...

    def start(self, call: Call) -> Start:
        """Prepares the loop: encodes pictures, draws the noise.

        Raises:
            EngineError: a component failed or gave NaN.
        """
        ...
