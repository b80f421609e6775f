"""What judges pictures: made ready before a run, and asked a subject at a time."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.bench import judge
from benchmarks.bench.judge import PROMPTS, Judge, Judging
from benchmarks.bench.reference import NO_REFERENCE, Ask, Reference
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError, UsageError
from tests.benchmarks.bench.fakes import fake_entry
from tests.benchmarks.bench.reports import SETTINGS
from tests.runtimes.fakes import write_fake_bundle

ASKS = [Ask("x", 3), Ask("y", 5)]


def quiet(line: str) -> None:
    """Tells nobody."""


class FakeClip:
    """Counts who is open."""

    folder = Path("/clip")
    opened = 0
    closed = 0

    @classmethod
    def open(cls, *_: object, **__: object) -> FakeClip:
        cls.opened += 1
        return cls()

    def score(self, picture: object, prompt: str) -> float:
        return 25.0

    def close(self) -> None:
        type(self).closed += 1


def test_a_subjects_pictures_are_judged_one_by_one() -> None:
    pictures = [np.full((64, 64, 3), seed, np.float32) for seed in (0.3, 0.6)]
    found = Judge(SETTINGS, ASKS, Reference("r", tuple(pictures)), "", None, 0).judge(fake_entry())
    assert found.reference == "r"
    assert not found.equal
    assert found.psnr_db == pytest.approx(20)  # pyright: ignore[reportUnknownMemberType]
    assert [(one.prompt, one.seed) for one in found.pictures] == [("x", 3), ("y", 5)]


def test_clip_is_loaded_for_as_long_as_it_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "ClipScorer", FakeClip)
    ready = Judging(count=1, clip=tmp_path).open([], SETTINGS, quiet)
    assert (FakeClip.opened, FakeClip.closed) == (1, 1)  # a look whether it can be
    found = ready.judge(fake_entry())
    assert found.clip_score == 25.0
    assert found.notes == (NO_REFERENCE,)
    assert (FakeClip.opened, FakeClip.closed) == (2, 2)
    with pytest.raises(LatedgeError, match="not here"):
        ready.judge(fake_entry(refuse="not here"))
    assert (FakeClip.opened, FakeClip.closed) == (3, 3)


def test_a_default_reference_that_fails_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise LatedgeError("the engine is not installed.")

    monkeypatch.setattr(judge, "draw_reference", fail)
    path = write_fake_bundle(tmp_path / "fake")
    bundles = [open_bundle(path)]
    found = Judging(count=2).open(bundles, SETTINGS, quiet)
    assert found.reference is None
    assert found.missing == f"no PSNR and SSIM: {path}: the engine is not installed."
    assert [ask.prompt for ask in found.asks] == [SETTINGS.prompt, PROMPTS[0]]
    assert found.reference_pictures == ()
    with pytest.raises(LatedgeError, match="the engine is not installed"):
        Judging(count=2, reference=path).open(bundles, SETTINGS, quiet)


def test_seeds_do_not_leave_their_range() -> None:
    last = replace(SETTINGS, seed=2**64 - 2)
    Judging(count=2).check([], last)
    with pytest.raises(UsageError, match="seed must be a whole number"):
        Judging(count=3).check([], last)
