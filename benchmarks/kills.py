"""`python -m benchmarks.kills`: kills export and compile at random moments, and lets them go on.

A trial starts a verb and sends it SIGKILL after a time drawn uniformly from 0 to what the verb
takes undisturbed; the run that goes on from there is killed as well, up to three times in a row.
Then the verb runs to its end. After every kill the output must be absent, or whole and the same as
that of the undisturbed run; where an older bundle is replaced, that bundle or the new one. In the
end all bytes must be those of the undisturbed run, the verification's seconds aside, and nothing
may lie beside them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from runtimes.bundle import open_bundle
from runtimes.errors import BundleError
from runtimes.version import VERSION

MODEL = Path(__file__).parent / "shapes" / "model"
MOST_KILLS_IN_A_ROW = 3
TAKEN = "taken from the interrupted run"

Snapshot = dict[str, str]
"""SHA-256 by path; verification.json's without its seconds."""


@dataclass(frozen=True)
class Verb:
    """What is killed.

    Attributes:
        name: in the report.
        arguments: of the command, the output aside.
        old: a bundle that is there already and is replaced, or None.
        share: of all kills.
    """

    name: str
    arguments: tuple[str, ...]
    old: Path | None
    share: float


@dataclass
class Tally:
    """What was found.

    Attributes:
        seconds: of the undisturbed run.
        kills: by how far the run was.
        trials: runs that were killed, and then went on to the end.
        steps_taken: components and comparisons that were not made again.
        failures: what was wrong, a line each.
    """

    seconds: float
    kills: Counter[str] = field(default_factory=Counter[str])
    trials: int = 0
    steps_taken: int = 0
    failures: list[str] = field(default_factory=list[str])


def main(
    count: Annotated[int, typer.Option(min=1, help="Kills in all.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    minutes: Annotated[float, typer.Option(help="Begin no trial after so long.")] = 1e9,
    only: Annotated[str, typer.Option(help="Kill the verbs whose names begin so.")] = "",
    output: Annotated[Path | None, typer.Option("-o", help="JSON file of the figures.")] = None,
) -> None:
    """Kills, goes on, compares, and prints how many kills fell where and what was wrong."""
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="latedge-kills-") as name:
        found = run_all(Path(name), count, random.Random(seed), end, only)
    record = {
        "kills": sum(tally.kills.total() for tally in found.values()),
        "seed": seed,
        "verbs": found,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "version": VERSION,
    }
    if output is not None:
        output.write_text(
            json.dumps(msgspec.to_builtins(record), indent=2) + "\n", encoding="utf-8", newline="\n"
        )
    show(found)
    if any(tally.failures for tally in found.values()):
        raise typer.Exit(1)


def run_all(
    folder: Path, count: int, moments: random.Random, end: float, only: str
) -> dict[str, Tally]:
    """Makes the undisturbed bundles, then kills each verb its share of times, in turns."""
    found: dict[str, Tally] = {}
    expected: dict[str, Snapshot] = {}
    verbs = list_verbs(folder)
    for verb in verbs:
        place = folder / "undisturbed" / "-".join(verb.name.split())
        start = time.monotonic()
        outcome = run(verb, place, folder)
        found[verb.name] = Tally(round(time.monotonic() - start, 2))
        if outcome.status != 0:
            raise SystemExit(f"{verb.name} fails undisturbed:\n{outcome.told}")
        expected[verb.name] = snapshot(place)
    verbs = [verb for verb in verbs if verb.name.startswith(only)]
    found = {verb.name: found[verb.name] for verb in verbs}
    count = round(count / sum(verb.share for verb in verbs))
    while any(lacks(verb, found, count) for verb in verbs):
        for verb in verbs:
            if time.monotonic() > end:
                return found
            if lacks(verb, found, count):
                most = min(MOST_KILLS_IN_A_ROW, lacks(verb, found, count))
                trial(verb, folder, found[verb.name], expected[verb.name], moments, most)
    return found


def list_verbs(folder: Path) -> list[Verb]:
    """Export, compile for both engines, and compile in the place of another bundle."""
    portable = folder / "undisturbed" / "export"
    compile_ = ("compile", str(portable), "--target")
    old = folder / "undisturbed" / "compile-openvino"
    return [
        Verb("export", ("export", str(MODEL)), None, 0.4),
        Verb("compile openvino", (*compile_, "openvino"), None, 0.2),
        Verb("compile onnxruntime", (*compile_, "onnxruntime"), None, 0.2),
        Verb("compile, replacing", (*compile_, "onnxruntime"), old, 0.2),
    ]


def lacks(verb: Verb, found: dict[str, Tally], count: int) -> int:
    """How many kills of its share a verb lacks."""
    return round(verb.share * count) - found[verb.name].kills.total()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, None where it was killed, and what it told."""

    status: int | None
    told: str


def run(
    verb: Verb,
    output: Path,
    folder: Path,
    *,
    kill_after: float | None = None,
    force: bool = False,
) -> Outcome:
    """Runs a verb in a process of its own, and kills it at that time unless it ends before."""
    more = ["--force"] if force else []
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "latedge", *verb.arguments, "-o", str(output), *more],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "LATEDGE_CACHE": str(folder / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        try:
            status = process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        told.seek(0)
        return Outcome(status, told.read())


def trial(
    verb: Verb,
    folder: Path,
    tally: Tally,
    expected: Snapshot,
    moments: random.Random,
    most: int,
) -> None:
    """Kills a verb up to `most` times in a row, lets it end, and writes down what was found."""
    place = folder / "trial"
    output = place / "bundle"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    allowed = [expected]
    if verb.old is not None:
        shutil.copytree(verb.old, output)
        allowed.append(snapshot(output))
    for _ in range(moments.randint(1, most)):
        delay = moments.uniform(0, tally.seconds)
        replace = verb.old is not None
        outcome = run(verb, output, folder, kill_after=delay, force=replace)
        if outcome.status is not None:
            break
        where = phase(outcome.told, place)
        tally.kills[where] += 1
        tally.steps_taken += outcome.told.count(TAKEN)
        for fault in faults(place, allowed, verb.old is None):
            tally.failures.append(f"{verb.name}, killed after {delay:.3f} s ({where}): {fault}")
    if os.listdir(place) != ["bundle"] or verb.old is not None:
        # What a kill left beside a bundle that is in its place is cleared when it is replaced.
        outcome = run(verb, output, folder, force=output.exists())
        tally.steps_taken += outcome.told.count(TAKEN)
        if outcome.status != 0:
            tally.failures.append(f"{verb.name} does not go on: {outcome.told}")
    tally.trials += 1
    tally.failures += [f"{verb.name}, in the end: {f}" for f in end_faults(place, expected)]


def phase(told: str, place: Path) -> str:
    """How far a killed run was, by what it told and what lies there."""
    lines = told.splitlines()
    if not (place / ".bundle.partial").exists():
        return "put in place" if lines else "starting"
    if not lines:
        return "first component"
    compared = "torch" in lines[-1] or "verification" in lines[-1]
    return "verification" if compared else "later components"


def faults(place: Path, allowed: Sequence[Snapshot], may_be_absent: bool) -> list[str]:
    """What is wrong with what a killed run left."""
    output = place / "bundle"
    known = {"bundle", ".bundle.partial", ".bundle.lock"}
    found = [f"{name} lies there" for name in os.listdir(place) if name not in known]
    if output.exists():
        found += bundle_faults(output, allowed)
    elif not may_be_absent:
        found.append("the old bundle is gone")
    return found


def end_faults(place: Path, expected: Snapshot) -> list[str]:
    """What is wrong in the end."""
    found = [f"{name} lies there" for name in os.listdir(place) if name != "bundle"]
    return found + bundle_faults(place / "bundle", [expected])


def bundle_faults(bundle: Path, allowed: Sequence[Snapshot]) -> list[str]:
    """What is wrong with a bundle that ought to be whole."""
    try:
        open_bundle(bundle, full=True)
    except BundleError as e:
        return [str(e)]
    found = snapshot(bundle)
    if found in allowed:
        return []
    names = found.keys() | allowed[0].keys()
    differing = [name for name in sorted(names) if found.get(name) != allowed[0].get(name)]
    return [f"other bytes in {', '.join(differing)}"]


def snapshot(bundle: Path) -> Snapshot:
    """Hashes of all files of a bundle."""
    return {
        path.relative_to(bundle).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file()
    }


def content(path: Path) -> bytes:
    """A file's bytes; a verification's without the seconds that it took."""
    raw = path.read_bytes()
    if path.name != "verification.json":
        return raw
    report: dict[str, Any] = json.loads(raw)
    for figures in report["components"].values():
        del figures["seconds_reference"], figures["seconds_engine"]
    return json.dumps(report, sort_keys=True).encode()


def show(found: dict[str, Tally]) -> None:
    """Prints a line for each verb, and what was wrong."""
    for name, tally in found.items():
        where = ", ".join(f"{count} {place}" for place, count in tally.kills.most_common())
        print(
            f"{name}: {tally.kills.total()} kills of runs of {tally.seconds:.1f} s ({where}); "
            f"{tally.trials} gone on with to the end, {tally.steps_taken} steps not made again, "
            f"{len(tally.failures)} failures"
        )
        for failure in tally.failures:
            print(f"  {failure}")


if __name__ == "__main__":
    typer.run(main)
