"""The stopwatch."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from runtimes.timings import Stopwatch


def test_laps_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[float] = iter(
        [0.0, 0.001, 1.0, 1.002, 2.0, 3.0, 3.25, 4.0, 4.5, 5.0, 5.125, 10]
    )
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    with watch.lap("tokenize"):
        pass
    with watch.lap("text_encoder"):
        pass
    with watch.lap("total"), watch.lap("loop"):
        with watch.lap("unet"):
            pass
        with watch.lap("unet"):
            pass
    found = watch.timings()
    assert (found.tokenize, found.text_encoder) == pytest.approx((1.0, 2.0))
    assert found.unet == (750.0, 500.0)
    assert found.sampler == pytest.approx(5.125e3 - 3000 - 1250)
    assert (found.callback, found.vae_decoder, found.total) == (0.0, 0.0, 8000.0)
