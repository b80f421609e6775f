"""Programs of known memory: the sampler finds it, and a sampler that is wrong is found out."""

from __future__ import annotations

import sys

import pytest

import benchmarks.known_memory as known
from benchmarks.bench.memory import MemorySampler
from benchmarks.known_memory import MB, Finding, Program, main, report
from runtimes.errors import LatedgeError

linux = pytest.mark.skipif(sys.platform != "linux", reason="PSS and the kernel's own marks")


@linux
def test_every_program_is_measured_right(capsys: pytest.CaptureFixture[str]) -> None:
    main(megabytes=32, trials=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[3].startswith("in a process and its child")
    assert lines[3].split()[-3] == "64.00"


@linux
def test_wrong_sampler_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(MemorySampler):
        @property
        def peak_since_mark(self) -> int:
            return super().peak_since_mark // 2

    monkeypatch.setattr(known, "MemorySampler", Blind)
    with pytest.raises(
        LatedgeError, match=r"off by more than 2%: held for 100 ms; held for 1 ms; in"
    ):
        main(megabytes=16, trials=1)


def test_worst_trial_decides() -> None:
    finding = Finding("x", 100 * MB, (100 * MB, 90 * MB, 101 * MB))
    assert finding.deviation == pytest.approx(-0.1)
    lines: list[str] = []
    report([finding], lines.append)
    assert lines[1].split() == ["x", "3", "100.00", "90.00", "101.00", "-10.00%"]


def test_program_that_ends_is_told() -> None:
    with pytest.raises(LatedgeError, match="ended at 'spike'"), Program() as program:
        program.tell("spike", "no number", 0)
