"""`python -m benchmarks.sampler_parity BUNDLE`: every sampler's trajectory beside diffusers'.

Each sampler with each prediction type and schedule that it knows, at several numbers of steps,
driven by an analytic network and by the shapes model's U-Net, one and the same on both sides. Tells
the largest error of a step relative to the latents' own scale, and names the first step where a
trajectory departs, with what is left of the error where both sides compute in float64: departures
that are rounding are told and no more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import LatedgeError, UsageError, unknown_name
from runtimes.parts import Parts
from runtimes.pictures import write_whole
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
    near = sum(case.worst <= CLOSE for case in ran)
    departed = [text for text in (case.departure() for case in ran) if text is not None]
    return "\n".join(
        [
            *lines,
            "",
            f"{len(ran)} trajectories compared, {near} within {CLOSE:g}, {len(departed)} beyond "
            f"{SAME:g}, {sum(case.is_wrong for case in ran)} of them in float64, too; "
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
    worst = [case.worst for case in found if case.refused is None]
    return f"{max(worst):.1e}" if worst else "–"


def measure(
    asked: Sequence[Case], drivers: dict[tuple[str, str], Network], tell: Callable[[str], None]
) -> list[Case]:
    """Compares case by case.

    Args:
        asked: what is compared.
        drivers: networks by name and prediction type.
        tell: called with a line as a sampler is done.
    """
    noise = unit_noise(SHAPE, SEED)
    found: list[Case] = []
    for index, case in enumerate(asked):
        driver = drivers[case.network, case.prediction_type]
        found.append(compare(case, driver, noise))
        if index + 1 == len(asked) or asked[index + 1].sampler != case.sampler:
            own = [c.worst for c in found if c.sampler == case.sampler and c.refused is None]
            told = f"largest error {max(own):.1e}" if own else "refused"
            tell(f"{case.sampler}: {len(own)} trajectories, {told}")
    return found


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The shapes model, compiled.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A JSON file for every step's error.")
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
    opened = open_bundle(bundle)
    if opened.manifest.prediction_type != "epsilon":
        raise UsageError(f"{bundle} predicts no noise, as the shapes model does.")
    parts = Parts.open(opened, ("text_encoder", "unet"), device="cpu", threads=None)
    try:
        asked = tuple(cases(names, (ANALYTIC, UNET), counts))
        found = measure(asked, networks(opened, parts), _tell)
    finally:
        parts.close()
    if output is not None:
        write_whole(output, msgspec.json.encode(found))
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
