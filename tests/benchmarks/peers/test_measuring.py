"""A report of peers that work and of such that don't, with workers that answer at once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench.client import Program
from benchmarks.bench.entry import Entry
from benchmarks.bench.results import PICTURE, Build, Plan, Report, Settings, read
from benchmarks.bench.tables import as_markdown
from benchmarks.peers import command
from benchmarks.peers.command import chosen, main
from benchmarks.peers.measuring import Benchmark
from benchmarks.peers.model import open_model
from benchmarks.peers.pictures import Reference, compare
from benchmarks.peers.preparing import Ready, Workshop
from benchmarks.peers.subjects import PEERS, Peer
from runtimes.errors import LatedgeError, UsageError

WORKER = Path(__file__).with_name("drawing_worker.py")
SETTINGS = Settings(
    prompt="x",
    negative_prompt="",
    num_inference_steps=2,
    guidance_scale=2.0,
    sampler="ddim",
    seed=0,
    height=8,
    width=8,
)
ROWS: dict[str, tuple[str, ...]] = {
    "first": ("level=0.5",),
    "close": ("level=0.51",),
    "equal": ("level=0.5",),
    "refuses": ("refuse=no such folder",),
    "slow": ("block=1",),
    "small": ("level=0.5", "size=4"),
    "bad": ("level=nan",),
}


class FakeWorkshop(Workshop):
    """Every peer is ready, but for those that can't be exported."""

    def ready(self, peer: Peer) -> Ready:
        if peer.name == "unexported":
            log = self.work / "environments" / "x.log"
            raise LatedgeError(f"optimum-cli failed: ValueError: no\nand more (all of it: {log})")
        seconds = "1" if peer.name == "slow" else "60"
        words = (sys.executable, "-m", "benchmarks.peers.limited", seconds)
        module = "tests.benchmarks.peers.drawing_worker"
        program = Program((*words, module, *ROWS[peer.name]))
        entry = Entry(peer.name, program, peer.program, WORKER, (WORKER,))
        return Ready(peer, entry, Build(seconds=3.0, peak_rss=4, installed=5))


def peer(name: str) -> Peer:
    return Peer(name, "fake", "diffusers", "source", "x", "fp32", notes=(f"note of {name}",))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    work = tmp_path_factory.mktemp("work")
    model = open_model("shapes", work, print)
    workshop = FakeWorkshop(model, work, 1, 60, lambda line: None)
    rows = [peer(name) for name in (*ROWS, "unexported")]
    rows.append(replace(peer("first"), name="other noise", noise=False))
    ROWS["other noise"] = ("level=0.1",)
    plan = Plan(sessions=1, rounds=2, warmup=1, interleaved=False)
    return Benchmark(rows, workshop, SETTINGS, plan, True, "peers").report()


def test_failures_are_rows_and_the_rest_goes_on(report: Report) -> None:
    rows = {subject.name: subject for subject in report.subjects}
    assert list(rows) == [*list(ROWS)[:7], "unexported", "other noise"]
    errors = {name: row.error for name, row in rows.items() if row.error}
    assert errors.keys() == {"refuses", "slow", "small", "bad", "unexported"}
    assert errors["refuses"] == "ValueError: no such folder"
    assert errors["slow"].startswith("it took longer than 60 s (--timeout)")
    assert errors["small"] == "its picture has shape [1, 4, 4, 3], not [1, 8, 8, 3]"
    assert errors["bad"] == "its picture holds NaN or infinite values"
    assert errors["unexported"] == (
        "optimum-cli failed: ValueError: no and more (all of it: environments/x.log)"
    )
    for name in ("first", "close", "equal", "other noise"):
        assert len(rows[name].stages[PICTURE].sessions[0]) == 2
        assert rows[name].memory is not None
    assert rows["first"].path == "tests/benchmarks/peers/drawing_worker.py"
    assert rows["refuses"].build == Build(seconds=3.0, peak_rss=4, installed=5)
    assert rows["unexported"].build is None
    assert rows["close"].notes[0] == "note of close"
    assert rows["close"].notes[1].startswith("its first process of all, with empty caches: load 0.")
    assert rows["close"].notes[1].endswith("picture 0.01 s")


def test_pictures_are_compared_with_the_first(report: Report) -> None:
    quality = {subject.name: subject.quality for subject in report.subjects}
    assert quality["close"] is not None
    assert quality["close"].psnr_db == pytest.approx(40, abs=1e-3)
    assert quality["equal"] is not None
    assert quality["equal"].equal
    assert quality["other noise"] is None, "a picture from other noise says nothing"


def test_table_has_a_line_for_every_row(report: Report) -> None:
    table = as_markdown(report)
    for subject in report.subjects:
        assert f"| {subject.name} |" in table
    assert "ValueError: no such folder" in table


def test_psnr() -> None:
    a = np.full((1, 2, 2, 3), 0.5, np.float32)
    reference = Reference("first", a)
    assert compare(reference, a + np.float32(0.1)).psnr_db == pytest.approx(20, abs=1e-4)
    assert compare(reference, a).equal


def test_rows_are_chosen_by_name() -> None:
    assert chosen(()) == PEERS
    names = ["OpenVINO GenAI int8", "diffusers eager"]
    assert [each.name for each in chosen(names)] == names[::-1], "in the report's order"
    with pytest.raises(UsageError, match="unknown row 'diffusers'"):
        chosen(["diffusers"])


def test_command_line(
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Benchmark] = []

    def run(self: Benchmark) -> Report:
        seen.append(self)
        return report

    monkeypatch.setattr(Benchmark, "report", run)
    monkeypatch.setenv("LATEDGE_CACHE", "put back afterwards")
    output = tmp_path / "peers.json"
    given = ["--model", "shapes", "--threads", "1", "--work", str(tmp_path / "work")]
    given += ["--only", "diffusers eager", "--no-pictures"]
    assert main([*given, "-o", str(output)]) == 1, "rows have errors"
    assert capsys.readouterr().out.count("| first |") >= 1
    assert read(output) == report
    assert (seen[0].settings.height, seen[0].plan.interleaved) == (64, False)
    # All that decides about the figures, and no place of this machine.
    assert seen[0].command == (
        "python -m benchmarks.peers --model shapes --steps 2 --sessions 1 --rounds 2 --threads 1 "
        "--only 'diffusers eager' --no-pictures"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--only", "no such"], "unknown row 'no such'"),
        (["--timeout", "0"], "--timeout must be above 0"),
        (["--steps", "0"], "--steps must be"),
        (["-o", "/dev/null"], "/dev/null is something else than a result, and is not replaced"),
        (["--model", "sd51"], "unknown model 'sd51'"),
    ],
)
def test_wrong_usage_comes_before_work(
    given: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LATEDGE_CACHE", "put back afterwards")
    assert command.main([*given, "--work", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_report_of_failures_alone(tmp_path: Path) -> None:
    workshop = FakeWorkshop(open_model("shapes", tmp_path, print), tmp_path, 1, 60, print)
    plan = Plan(sessions=1, rounds=1, warmup=1, interleaved=False)
    rows = [peer("refuses"), peer("unexported")]
    report = Benchmark(rows, workshop, SETTINGS, plan, True, "peers").report()
    assert [bool(subject.error) for subject in report.subjects] == [True, True]
    assert report.ratios == ()
