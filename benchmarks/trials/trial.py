"""Trials: is a slowdown that isn't there seen, and is one that is there found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.bench.client import Program
from benchmarks.bench.protocol import Ask
from benchmarks.bench.ratios import paired_ratios
from benchmarks.bench.results import PICTURE, UNET_CALL, Noise, Ratio, Stage
from benchmarks.bench.statistics import stage
from benchmarks.trials.slowed import register, slowed_bundle
from benchmarks.trials.turns import Samples, bundle_program, take_turns
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError
from runtimes.settle import settle

FIRST, AGAIN, SLOWED = "first", "again", "slowed"
"""The subjects of a trial: the bundle, the same once more, and the same by a slowed engine."""

PROMPT = "a red circle above a blue square"


class Session(msgspec.Struct, frozen=True):
    """A session of the three subjects.

    Attributes:
        load: the machine's one-minute load average at its end.
        samples: milliseconds by subject and stage.
        noise: how steady the machine was.
    """

    load: float
    samples: Samples
    noise: Noise | None = None


@dataclass(frozen=True)
class Trial:
    """A run of several sessions, judged as `latedge bench` judges its own.

    Attributes:
        load: mean of its sessions.
        same: ratios of the bundle by itself.
        slower: of the slowed one by the bundle.
    """

    load: float
    same: tuple[Ratio, ...]
    slower: tuple[Ratio, ...]

    @property
    def no_difference(self) -> bool:
        """Whether all stages of the bundle by itself show none, as they should."""
        return all(ratio.verdict == "no difference" for ratio in self.same)

    @property
    def found(self) -> bool:
        """Whether the slowdown shows in the whole picture or the U-Net's call, as it should."""
        told = (r.verdict for r in self.slower if r.stage in (PICTURE, UNET_CALL))
        return "slower" in told


def prepare(
    bundle: Path, threads: int | None, steps: int, folder: Path
) -> tuple[dict[str, Program], Ask]:
    """The subjects of a bundle's trials, and the picture they draw.

    Args:
        bundle: compiled.
        threads: within an operation; None leaves it to the engine.
        steps: of the sampler.
        folder: empty; a copy of the bundle is made in it.

    Raises:
        BundleError: the bundle is refused.
        UsageError: no slowed engine is there for it.
    """
    settings = settle(open_bundle(bundle), PROMPT, None, num_inference_steps=steps, seed=0)
    slowed, packages = slowed_bundle(bundle, folder / "slowed"), folder / "packages"
    register(packages)
    # In the middle, the first is as near in time to the one as to the other.
    paths = {AGAIN: bundle, FIRST: bundle, SLOWED: slowed}
    ask = Ask(
        prompt=PROMPT,
        negative_prompt="",
        num_inference_steps=steps,
        guidance_scale=settings.guidance_scale,
        sampler=settings.sampler,
        seed=0,
        height=settings.height,
        width=settings.width,
    )
    return {name: bundle_program(path, threads, packages) for name, path in paths.items()}, ask


def run_session(programs: dict[str, Program], ask: Ask, rounds: int, number: int) -> Session:
    """Measures one session.

    Raises:
        LatedgeError: a subject failed.
    """
    samples, noise = take_turns(programs, ask, rounds, number)
    return Session(os.getloadavg()[0], samples, noise)


def read_sessions(path: Path) -> list[Session]:
    """The sessions of a file, a line of JSON each; none where it doesn't exist.

    Raises:
        LatedgeError: a line is no session.
    """
    if not path.exists():
        return []
    try:
        return msgspec.json.Decoder(Session).decode_lines(path.read_bytes())
    except (OSError, msgspec.DecodeError) as e:
        raise LatedgeError(f"{path} holds no sessions of trials: {e}. Name another file.") from e


def keep(path: Path, session: Session) -> None:
    """Adds a session to a file."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(session) + b"\n")


def judge(sessions: Sequence[Session]) -> Trial:
    """Judges the sessions of one run."""
    first, again, slowed = (_stages(sessions, name) for name in (FIRST, AGAIN, SLOWED))
    return Trial(
        load=sum(session.load for session in sessions) / len(sessions),
        same=paired_ratios(again, first, subject=AGAIN, baseline=FIRST),
        slower=paired_ratios(slowed, first, subject=SLOWED, baseline=FIRST),
    )


def _stages(sessions: Sequence[Session], subject: str) -> dict[str, Stage]:
    samples = [session.samples[subject] for session in sessions]
    return {name: stage([each[name] for each in samples]) for name in samples[0]}
