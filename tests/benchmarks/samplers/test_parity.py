"""Trajectories beside diffusers': errors are seen where they are, and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from benchmarks import sampler_parity
from benchmarks.sampler_parity import SHAPE, Comparison, as_text, main
from benchmarks.samplers.denoisers import (
    Network,
    Training,
    analytic_epsilon,
    as_network,
    unit_noise,
)
from benchmarks.samplers.parity import (
    BASE,
    SCHEDULES,
    SEED,
    Case,
    cases,
    compare,
    step_errors,
)
from exporter.compile import compile
from runtimes.denoiser import Latents
from runtimes.samplers import SAMPLERS
from runtimes.samplers.euler import Euler
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Noise, Run
from runtimes.schedule import Level, NoiseSchedule
from tests.conftest import Once

NOISE = unit_noise(SHAPE, SEED)


def network(kind: str = "epsilon") -> Network:
    training = Training.of(NoiseSchedule.from_config(BASE))
    return as_network(analytic_epsilon(training), training, kind)


def case(sampler: str, schedule: str = "leading", kind: str = "epsilon", steps: int = 4) -> Case:
    return Case(
        sampler=sampler, network="analytic", prediction_type=kind, schedule=schedule, steps=steps
    )


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp-2m", "pndm", "dpm-2m", "dpm-2s"])
def test_samplers_follow_their_references(sampler: str, kind: str) -> None:
    found = compare(case(sampler, kind=kind), network(kind), NOISE)
    assert found.refused is None
    assert found.worst is not None
    assert 0 < found.worst < 2e-5
    assert found.departure() is None
    assert not found.is_wrong


@dataclass(frozen=True)
class Off(Euler):
    """Euler whose third step goes wrong by a thousandth."""

    OPTIONS: ClassVar[Options] = Euler.OPTIONS
    REFERENCE: ClassVar[str] = Euler.REFERENCE

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        for step in super().sample(denoiser, x, levels, noise, begin=begin):
            x = step.x * np.float32(1.001 if step.index == 2 else 1)
            yield replace(step, x=x)
        return x


def test_the_first_differing_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "off", f"{__name__}:Off")
    found = compare(case("off"), network(), NOISE)
    told = found.departure() or ""
    assert told.startswith(
        "off, epsilon, leading, analytic: departs at step 3 of 4 with 1.0e-03; 1.0e-03 in float64; "
    )
    assert found.is_wrong
    lines = as_text([found], [4]).splitlines()
    assert lines[2] == "| off | 1.0e-03 |"
    counts = (
        "1 trajectories compared, 0 within 1e-05, 1 beyond 0.0002, 1 of them by more than "
        "rounding; 0 refused by one side."
    )
    assert lines[4:] == [counts, told]


def test_rounding_is_told_from_an_error() -> None:
    # From sigma 20000 the noise form takes the difference of two latents of that size.
    found = compare(case("dpm-2s", "cosine betas", "sample", 5), network("sample"), NOISE)
    assert found.departs is not None
    assert found.departs.error > 1e-3
    assert found.departs.in_double < 1e-9
    assert not found.is_wrong


@pytest.mark.parametrize("sampler", ["dpmpp-sde", "euler-a", "dpmpp-2m-sde"])
def test_samplers_draw_the_same_noise_in_double(sampler: str) -> None:
    found = compare(case(sampler), network(), NOISE, tolerance=0)
    assert found.departs is not None
    assert found.departs.is_rounding
    assert found.departs.in_double != found.worst


def test_a_network_that_amplifies_rounding_is_told_from_an_error() -> None:
    plain = network()

    def rough(x: Latents, timestep: float) -> Latents:
        wrong = plain(x, timestep)
        return (wrong + 0.1 * np.sin(1e5 * x.astype(np.float32))).astype(x.dtype)

    found = compare(case("euler"), rough, NOISE)
    assert found.departs is not None
    assert found.departs.from_itself > 1e-3
    assert not found.is_wrong


def test_other_levels_are_other_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compare(case("euler"), network(), NOISE)
    monkeypatch.setitem(SCHEDULES, "leading", {"beta_end": 0.0121})
    monkeypatch.setattr(Euler, "init_noise_sigma", lambda *_: 14.0)
    other = compare(case("euler"), network(), NOISE)
    assert plain.worst is not None
    assert other.worst is not None
    assert plain.worst < 1e-4 < other.worst


def test_what_one_side_refuses_is_told() -> None:
    ours = compare(case("ddim", "zero SNR"), network(), NOISE)
    assert (ours.worst, (ours.refused or "")[:9]) == (None, "latedge: ")
    text = as_text([ours], [4])
    assert "| ddim | – |" in text
    assert "0 trajectories compared" in text
    last = text.splitlines()[-1]
    assert last.startswith("ddim (zero SNR): latedge: prediction_type is 'epsilon'")


def test_what_the_reference_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Euler, "REFERENCE", "NoSuchScheduler")
    found = compare(case("euler"), network(), NOISE)
    assert (found.refused or "").startswith("diffusers: AttributeError: ")


def test_errors_are_relative_and_never_hide() -> None:
    zeros, ones = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    assert step_errors([2 * ones], [4 * ones]) == (0.5,)
    assert step_errors([ones, ones], [ones]) == (0.0, np.inf)
    assert step_errors([ones * np.nan], [ones]) == (np.inf,)
    assert step_errors([ones.astype(np.float64)], [ones]) == (np.inf,)  # pyright: ignore[reportArgumentType]
    assert step_errors([zeros], [ones]) == (1.0,)


def test_cases_are_those_a_sampler_knows() -> None:
    found = list(cases(["ddim", "euler"], ["a", "b"], [5, 20]))
    assert len(set(found)) == len(found)
    schedules = {
        name: {c.schedule for c in found if c.sampler == name} for name in ("ddim", "euler")
    }
    types = {c.prediction_type for c in cases(["pndm"], ["a"], [5])}
    assert types == {"epsilon", "v_prediction"}
    assert "karras" in schedules["euler"] - schedules["ddim"]
    assert {"leading", "linspace", "trailing", "zero SNR", "cosine betas"} <= schedules["ddim"]


def test_command_compares_with_both_networks(
    once: Once,
    shapes_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = once(
        "shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime")
    )
    options = ["-o", str(tmp_path / "x.json"), "--sampler", "ddim", "--steps", "2"]
    assert main([str(folder), *options]) == 0
    shown = capsys.readouterr()
    head = "| sampler | analytic, 2 steps | shapes U-Net, 2 steps |\n|---|---|---|\n| ddim | "
    assert shown.out.startswith(head)
    assert ", 0 beyond 0.0002, " in shown.out
    assert shown.err.startswith("ddim: ")
    found = msgspec.json.decode((tmp_path / "x.json").read_bytes(), type=Comparison).cases
    ran = [c for c in found if c.worst is not None]
    assert {c.network for c in ran} == {"analytic", "shapes U-Net"}
    assert 0 < max(c.worst or 0 for c in ran) < 2e-4
    # What is known is not compared again, and what isn't asked for is kept.
    assert main([str(folder), *options[:2], "--sampler", "euler", "--steps", "2"]) == 0
    monkeypatch.setattr(sampler_parity, "compare", lambda case, *_: case)
    assert main([str(folder), *options]) == 0
    again = msgspec.json.decode((tmp_path / "x.json").read_bytes(), type=Comparison).cases
    assert [c for c in again if c.worst is not None and c.sampler == "ddim"] == ran
    assert {c.sampler for c in again} == {"ddim", "euler"}
    (tmp_path / "x.json").write_text("[]")
    assert main([str(folder), *options]) == 2
    assert "x.json is no comparison of samplers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sampler", "dimm"], "Did you mean 'ddim'?"),
        (["--steps", "0"], "--steps is at least 1; given 0."),
    ],
)
def test_wrong_usage_ends_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nowhere", *options]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
