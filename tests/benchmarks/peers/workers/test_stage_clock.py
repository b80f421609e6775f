"""Times of calls by stage, results and errors passed on."""

from __future__ import annotations

import time

import pytest

from benchmarks.peers.workers.stage_clock import StageClock


class Network:
    def forward(self, value: int, *, more: int = 0) -> int:
        time.sleep(0.002)
        if value < 0:
            raise ValueError("negative")
        return value + more


def test_calls_are_timed_and_passed_on() -> None:
    clock, network = StageClock(), Network()
    clock.watch(network, "forward", "unet_call")
    assert [network.forward(1, more=2), network.forward(5)] == [3, 5]
    clock.add("picture", 12.5)
    stages = clock.take().stages
    assert len(stages["unet_call"]) == 2
    assert min(stages["unet_call"]) >= 2, "milliseconds"
    assert stages["picture"] == [12.5]
    assert clock.take().stages == {}, "taken once"


def test_calls_of_one_stage_of_a_picture_are_added_up() -> None:
    clock = StageClock()
    for stage in ("text_encoder", "vae_decoder", "unet_call"):
        clock.add(stage, 3)
        clock.add(stage, 4)
    found = {"text_encoder": [7], "vae_decoder": [7], "unet_call": [3, 4]}
    assert clock.take().stages == found


def test_errors_pass_through() -> None:
    clock, network = StageClock(), Network()
    clock.watch(network, "forward", "unet_call")
    with pytest.raises(ValueError, match="negative"):
        network.forward(-1)
