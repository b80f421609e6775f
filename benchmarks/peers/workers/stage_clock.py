"""Times the parts of a pipeline from outside, by standing in for their methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.bench.protocol import Drawn

ONCE = ("text_encoder", "vae_decoder")
"""Stages of which a picture has one number, however often they are called."""


class StageClock:
    """Collects the milliseconds of calls by stage."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def watch(self, owner: Any, method: str, stage: str) -> None:
        """Puts a timed method in the place of an object's own."""
        setattr(owner, method, self.timed(getattr(owner, method), stage))

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, its calls timed."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.add(stage, (time.perf_counter() - start) * 1000)

        return run

    def add(self, stage: str, milliseconds: float) -> None:
        """Takes a time that was measured elsewhere."""
        self._found.setdefault(stage, []).append(milliseconds)

    def take(self) -> Drawn:
        """What was timed since the last call of this."""
        found, self._found = self._found, {}
        return Drawn({name: [sum(v)] if name in ONCE else v for name, v in found.items()})
