"""Limits are found in a process of their own, whose end is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.bench.limits import apart
from benchmarks.bench.limits.apart import LimitError, Request, limits_apart
from tests.benchmarks.bench.reports import SETTINGS


def request(bundle: Path) -> Request:
    return Request(
        bundle=str(bundle),
        settings=SETTINGS,
        stages={},
        peaks=None,
        device="cpu",
        threads=1,
        profile=False,
    )


def test_an_error_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"^no bundle at .*absent"):
        limits_apart(request(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", "profiled, the process was ended by SIGSEGV"),
        ("raise SystemExit(7)", "exit status 7"),
        ("print('more'); raise ValueError('x')", "ValueError: x"),
    ],
)
def test_a_crash_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(apart, "module_command", lambda *_: (sys.executable, "-c", code))
    with pytest.raises(LimitError, match=message):
        limits_apart(request(tmp_path))
