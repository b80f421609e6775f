"""`python -m benchmarks.sampler_parity BUNDLE`: every sampler's trajectory beside diffusers'.

Each sampler with each prediction type and schedule that it knows, at several numbers of steps,
driven by an analytic network and by the shapes model's U-Net, one and the same on both sides. Tells
the largest error of a step relative to the latents' own scale, and names the first step where a
trajectory departs, with what is left of the error where both sides compute in float64, and how far
ours parts from itself begun a rounding error beside: departures that are rounding are told and no
more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from benchmarks.command_line import run_command
from benchmarks.samplers.denoisers import (
    Network,
    Training,
    analytic_epsilon,
    as_network,
    unet_epsilon,
    unit_noise,
)
from benchmarks.samplers.parity import BASE, PREDICTION_TYPES, SAME, SEED, Case, cases, compare
from runtimes.bundle import Bundle
from runtimes.errors import LatedgeError, UsageError, unknown_name
from runtimes.metadata import Origin
from runtimes.parts import Parts
from runtimes.pictures import write_whole
from runtimes.pipeline import Pipeline
from runtimes.samplers import SAMPLERS
from runtimes.schedule import NoiseSchedule

NAME = "python -m benchmarks.sampler_parity"
STEPS = (5, 20, 50)
CLOSE = 1e-5
ANALYTIC, UNET = "analytic", "shapes U-Net"
SHAPE = (1, 4, 8, 8)


def networks(bundle: Bundle, parts: Parts) -> dict[tuple[str, str], Network]:
    """Both networks in each prediction type, by their names."""
    plain = Training.of(NoiseSchedule.from_config(BASE))
    own = Training.of(NoiseSchedule.from_config(bundle.scheduler_config))
    sources = {ANALYTIC: (analytic_epsilon(plain), plain), UNET: (unet_epsilon(parts), own)}
    return {
        (name, kind): as_network(epsilon, training, kind)
        for name, (epsilon, training) in sources.items()
        for kind in PREDICTION_TYPES
    }


def as_text(found: Sequence[Case], steps: Sequence[int]) -> str:
    """The largest errors by sampler, network and steps as a Markdown table; then what departs."""
    names = tuple(dict.fromkeys(case.network for case in found))
    columns = [(name, count) for name in names for count in steps]
    lines = [
        f"| sampler | {' | '.join(f'{name}, {count} steps' for name, count in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for sampler in dict.fromkeys(case.sampler for case in found):
        cells = (
            _cell([case for case in found if (case.sampler, case.network, case.steps) == key])
            for key in ((sampler, name, count) for name, count in columns)
        )
        lines.append(f"| {sampler} | {' | '.join(cells)} |")
    ran = [case for case in found if case.refused is None]
    near = sum(case.worst is not None and case.worst <= CLOSE for case in ran)
    departed = [text for text in (case.departure() for case in ran) if text is not None]
    return "\n".join(
        [
            *lines,
            "",
            f"{len(ran)} trajectories compared, {near} within {CLOSE:g}, {len(departed)} beyond "
            f"{SAME:g}, {sum(case.is_wrong for case in ran)} of them by more than rounding; "
            f"{len(found) - len(ran)} refused by one side.",
            *departed,
            *_refusals(found),
        ]
    )


def _refusals(found: Sequence[Case]) -> list[str]:
    """Each reason once, with the samplers and schedules that it holds for."""
    reasons: dict[str, dict[str, None]] = {}
    for case in found:
        if case.refused is not None:
            reasons.setdefault(case.refused, {})[f"{case.sampler} ({case.schedule})"] = None
    return [f"{', '.join(which)}: {reason}" for reason, which in reasons.items()]


def _cell(found: Sequence[Case]) -> str:
    worst = [case.worst for case in found if case.worst is not None]
    return f"{max(worst):.1e}" if worst else "–"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        origin: the bundle, its engine and the machine.
        cases: by sampler.
    """

    origin: Origin
    cases: tuple[Case, ...] = ()

    def text(self) -> bytes:
        """As JSON, a case a line."""
        lines = b",\n".join(msgspec.json.encode(case) for case in self.cases)
        return b'{"origin": %b,\n"cases": [\n%b\n]}\n' % (msgspec.json.encode(self.origin), lines)


def earlier_cases(output: Path, origin: Origin) -> tuple[Case, ...]:
    """What an earlier run compared; refusals are tried again.

    Raises:
        UsageError: the file holds something else, or was measured with another bundle or machine.
    """
    if not output.exists() or output.stat().st_size == 0:
        return ()
    try:
        found = msgspec.json.decode(output.read_bytes(), type=Comparison)
    except msgspec.DecodeError as e:
        raise UsageError(f"{output} is no comparison of samplers, and is not replaced: {e}.") from e
    if found.origin != origin:
        raise UsageError(
            f"{output} was measured with another bundle or machine; give another place, or delete "
            "it."
        )
    return tuple(case for case in found.cases if case.refused is None)


def measure(
    asked: Sequence[Case],
    drivers: dict[tuple[str, str], Network],
    tell: Callable[[str], None],
    known: Sequence[Case] = (),
) -> Iterator[list[Case]]:
    """Compares case by case; gives a sampler's when all of them are done.

    Args:
        asked: what is compared.
        drivers: networks by name and prediction type.
        tell: called with a line as a sampler is done.
        known: cases that were compared before.
    """
    noise = unit_noise(SHAPE, SEED)
    before = {case.asked: case for case in known}
    for sampler, cases_ in groupby(asked, key=lambda case: case.sampler):
        found = [
            before.get(case) or compare(case, drivers[case.network, case.prediction_type], noise)
            for case in cases_
        ]
        own = [case.worst for case in found if case.worst is not None]
        told = f"largest error {max(own):.1e}" if own else "refused"
        tell(f"{sampler}: {len(own)} trajectories, {told}")
        yield found


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The shapes model, compiled.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A JSON file, written as samplers are done; a run goes on where one stopped.",
        ),
    ] = None,
    sampler: Annotated[
        list[str] | None, typer.Option(help="May be given several times; all where absent.")
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="May be given several times; 5, 20, 50 where absent.")
    ] = None,
) -> None:
    """Compare every sampler's whole trajectory with its diffusers scheduler's."""
    names = sampler or sorted(SAMPLERS)
    for name in names:
        if name not in SAMPLERS:
            raise unknown_name("sampler", name, SAMPLERS)
    counts = tuple(steps or STEPS)
    if min(counts) < 1:
        raise UsageError(f"--steps is at least 1; given {min(counts)}.")
    with Pipeline.open(bundle) as pipe:
        opened, origin = pipe.bundle, pipe.origin
    if opened.manifest.prediction_type != "epsilon":
        raise UsageError(f"{bundle} predicts no noise, as the shapes model does.")
    known = earlier_cases(output, origin) if output is not None else ()
    asked = tuple(cases(names, (ANALYTIC, UNET), counts))
    others = tuple(case for case in known if case.asked not in asked)
    found: list[Case] = []
    parts = Parts.open(opened, ("text_encoder", "unet"), device="cpu", threads=None)
    try:
        for part in measure(asked, networks(opened, parts), _tell, known):
            found += part
            if output is not None:
                kept = sorted((*others, *found), key=lambda case: case.sampler)
                write_whole(output, Comparison(origin=origin, cases=tuple(kept)).text())
    finally:
        parts.close()
    print(as_text(found, counts))
    wrong = sum(case.is_wrong for case in found)
    if wrong:
        raise LatedgeError(
            f"{wrong} trajectories depart from diffusers' by more than rounding; they are named "
            "above."
        )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(command, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
