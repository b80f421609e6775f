"""`python -m benchmarks.harness_trials BUNDLE …`: how far `latedge bench` can be trusted.

What the harness adds to a call; how often two runs of the same bundle are told apart, which they
must not be; and how often a planted slowdown of 5 % is found. Each trial is a run of its own, of as
many sessions and rounds as are given here, on whatever else the machine does meanwhile.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.bench.results import PICTURE, UNET_CALL, Ratio
from benchmarks.command_line import run_command
from benchmarks.trials.overhead import measure_overhead, measure_parts
from benchmarks.trials.slowed import SHARE
from benchmarks.trials.trial import Session, Trial, judge, keep, prepare, read_sessions, run_session
from runtimes.checks import check_count
from runtimes.errors import UsageError

NAME = "python -m benchmarks.harness_trials"
OUTPUT = Path("benchmarks/results/harness.json")
FEWEST_SESSIONS = 2
MOST = 10_000


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        trials: how many.
        sessions: of a trial.
        rounds: of a session.
        steps: of a picture.
        threads: within an operation; None leaves it to the engine.
    """

    trials: int
    sessions: int
    rounds: int
    steps: int
    threads: int | None


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Compiled bundles.", show_default=False)],
    trials: Annotated[int, typer.Option(help="Runs that are judged; 0 skips them.")] = 20,
    sessions: Annotated[int, typer.Option(help="Sessions of a run.")] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds of a session.")] = 24,
    steps: Annotated[int, typer.Option(help="Steps of a picture.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Threads within an operation.")] = None,
    keep_in: Annotated[
        Path | None, typer.Option("--keep", help="Folder for the samples; goes on with them.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON of the result.")] = OUTPUT,
) -> None:
    """Measures the harness, and what its verdicts are worth."""
    plan = Plan(
        check_count("--trials", trials, MOST) if trials else 0,
        check_count("--sessions", sessions, MOST),
        check_count("--rounds", rounds, MOST),
        check_count("--steps", steps, 1000),
        threads,
    )
    if plan.sessions < FEWEST_SESSIONS:
        raise UsageError(f"--sessions {sessions}: an interval needs {FEWEST_SESSIONS} or more.")
    with tempfile.TemporaryDirectory() as folder:
        place = keep_in or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        found = [_measure(bundle, plan, place) for bundle in bundles]
    result = {
        "command": " ".join((NAME, *sys.argv[1:])),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "plan": asdict(plan),
        "slowdown": SHARE,
        "bundles": found,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")
    print("\n\n".join(_table(each) for each in found))


def _measure(bundle: Path, plan: Plan, place: Path) -> dict[str, Any]:
    """All figures of a bundle."""
    _tell(f"{bundle.name}: calls bare and timed")
    overhead = measure_overhead(bundle, plan.threads, plan.sessions, plan.rounds)
    parts = measure_parts(bundle, plan.threads, overhead[0].call_ms)
    judged = _trials(bundle, plan, place / f"{bundle.name}.jsonl") if plan.trials else []
    return {
        "bundle": bundle.name,
        "overhead": [asdict(each) for each in overhead],
        "parts": asdict(parts),
        "no_difference": sum(trial.no_difference for trial in judged),
        "found": sum(trial.found for trial in judged),
        "trials": [_as_json(trial) for trial in judged],
    }


def _trials(bundle: Path, plan: Plan, path: Path) -> list[Trial]:
    """Runs what is not yet in the file, and judges all."""
    done = read_sessions(path)
    wanted = plan.trials * plan.sessions
    with tempfile.TemporaryDirectory() as folder:
        programs, ask = prepare(bundle, plan.threads, plan.steps, Path(folder))
        for number in range(len(done), wanted):
            _tell(f"{bundle.name}: session {number + 1} of {wanted}")
            session = run_session(programs, ask, plan.rounds, number)
            keep(path, session)
            done.append(session)
    return [judge(group) for group in _groups(done[:wanted], plan.sessions)]


def _groups(sessions: Sequence[Session], size: int) -> list[Sequence[Session]]:
    return [sessions[start : start + size] for start in range(0, len(sessions), size)]


def _tell(what: str) -> None:
    print(what, file=sys.stderr)


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "load": trial.load,
        "no_difference": trial.no_difference,
        "found": trial.found,
        "same": msgspec.to_builtins(trial.same),
        "slower": msgspec.to_builtins(trial.slower),
    }


def _table(found: dict[str, Any]) -> str:
    """What a reader looks for first."""
    lines = [found["bundle"]]
    for each in found["overhead"]:
        lines.append(
            f"  {each['of']} by {each['by']}: {each['ratio']:.4f} [{each['low']:.4f}, "
            f"{each['high']:.4f}], {each['calls']} calls of {each['call_ms']:.1f} ms"
        )
    parts = found["parts"]
    lines.append(
        f"  in parts: {parts['lap_us']:.1f} us a lap and {parts['sampler_share']:.2%} of a core: "
        f"{parts['share']:.2%} of a call"
    )
    trials = found["trials"]
    if trials:
        loads = [trial["load"] for trial in trials]
        lines += [
            f"  the same bundle: no difference in {found['no_difference']} of {len(trials)} trials",
            f"  {SHARE:.0%} slower: found in {found['found']} of {len(trials)} trials",
            f"  load average {min(loads):.1f} to {max(loads):.1f}, median "
            f"{statistics.median(loads):.1f}",
            *_reaches(trials),
        ]
    return "\n".join(lines)


def _reaches(trials: Sequence[dict[str, Any]]) -> list[str]:
    """How wide the intervals were."""
    lines: list[str] = []
    for name in (PICTURE, UNET_CALL):
        ratios = [
            msgspec.convert(ratio, Ratio)
            for trial in trials
            for ratio in trial["slower"]
            if ratio["stage"] == name
        ]
        reach = statistics.median((ratio.high / ratio.low) ** 0.5 - 1 for ratio in ratios)
        middle = statistics.median(ratio.estimate for ratio in ratios)
        lines.append(f"  {name}, slowed: {middle:.3f}, within {reach:.1%}; medians of the trials")
    return lines


if __name__ == "__main__":
    raise SystemExit(run_command(main, NAME))
