"""How long the stages of a call took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds by stage.

    Attributes:
        tokenize: text to token ids; 0 where embeddings were given.
        text_encoder: all prompts, negative ones too; likewise.
        unet: each call of the U-Net; with guidance in two halves, two calls a step.
        sampler: the loop around those calls: scaling, guidance, the sampler's own arithmetic.
        callback: the caller's callback.
        vae_decoder: all pictures.
        total: from the first check to the last picture, with loading.
        vae_encoder: all pictures that were given.
        load: by component: what this call loaded, each as often as it did.
    """

    tokenize: float
    text_encoder: float
    unet: tuple[float, ...]
    sampler: float
    callback: float
    vae_decoder: float
    total: float
    vae_encoder: float = 0.0
    load: dict[str, float] = {}


@dataclass
class Stopwatch:
    """Collects laps of stages while a call runs.

    Attributes:
        laps_ms: milliseconds of each lap, by stage.
        loads_ms: milliseconds of loading, by component.
    """

    laps_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loads_ms: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def lap(self, stage: str) -> Generator[None]:
        """Times a block as one lap of a stage; about 1 µs of its own."""
        start = time.perf_counter()
        yield
        self.laps_ms[stage].append((time.perf_counter() - start) * 1000)

    @contextmanager
    def load(self, component: str) -> Generator[None]:
        """Times a block that loads a component."""
        start = time.perf_counter()
        yield
        self.loads_ms[component] += (time.perf_counter() - start) * 1000

    def timings(self) -> Timings:
        """The stages' times; what the loop took beside U-Net and callback is the sampler's."""
        spent = {stage: sum(laps) for stage, laps in self.laps_ms.items()}
        unet, callback = spent.get("unet", 0.0), spent.get("callback", 0.0)
        return Timings(
            tokenize=spent.get("tokenize", 0.0),
            text_encoder=spent.get("text_encoder", 0.0),
            unet=tuple(self.laps_ms["unet"]),
            sampler=spent["loop"] - unet - callback,
            callback=callback,
            vae_decoder=spent.get("vae_decoder", 0.0),
            total=spent["total"],
            vae_encoder=spent.get("vae_encoder", 0.0),
            load=dict(self.loads_ms),
        )
