"""Where and how the run was made: noise, machine, settings, what it took to build, notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.bench.results import Build, Noise, Report, Settings, Subject
from benchmarks.report.formats import BYTES, TIMES, datum, measure, percent, significant, words
from benchmarks.report.markup import Html, element, join, text
from benchmarks.report.section import Section
from benchmarks.report.tables import facts, table

_VERDICTS = {
    "quiet": "The machine was quiet.",
    "noisy": "The machine was noisy: take small differences with care.",
    "throttled": "The machine slowed down during the run: times are not comparable with others.",
}


def banner(noise: Noise) -> Html:
    """The verdict on the machine, where nobody overlooks it."""
    verdict = _VERDICTS.get(noise.verdict, noise.verdict)
    reasons = [element("li", text(reason)) for reason in noise.reasons]
    listed = element("ul", *reasons) if reasons else ""
    return element("div", element("strong", verdict), listed, class_=f"verdict {noise.verdict}")


def steadiness(report: Report) -> Section | None:
    """How steady the machine was; None where that was not watched."""
    noise = report.noise
    if noise is None:
        return None
    reference = noise.reference
    rows = [
        ("Verdict", text(noise.verdict)),
        ("Load average before", datum(noise.load_before)),
        ("Processor time of other programs, mean", percent(noise.others_share)),
        ("Processor time of other programs, worst round", percent(noise.others_share_max)),
        ("Processor time taken by a hypervisor", percent(noise.steal_share)),
        ("Fixed calculation, median", measure(reference.p50, TIMES)),
        ("Fixed calculation, spread", percent(reference.spread)),
        ("Fixed calculation, drift", percent(noise.drift)),
        ("Drop of the processor's frequency", percent(noise.frequency_drop)),
        ("Highest temperature", _celsius(noise.temperature_c)),
    ]
    return Section("noise", "Noise", facts("How steady the machine was", rows))


def _celsius(value: float | None) -> Html:
    return datum(value, f"{value:.1f} °C") if value is not None else datum(None)


def environment(report: Report) -> Section:
    """The machine and its software."""
    machine = report.machine
    rows: list[tuple[str, Html]] = [
        ("System", text(machine.system)),
        ("Processor", text(machine.processor)),
        ("Logical cores", datum(machine.cores, str(machine.cores))),
        ("Memory", measure(machine.memory_bytes, BYTES)),
        *(("GPU", text(device)) for device in machine.devices),
        ("Python", words(machine.python)),
        *(("Power", text(power)) for power in (machine.power,) if power),
        *(("Governor", text(governor)) for governor in (machine.governor,) if governor),
        ("latedge", text(report.version)),
        *((name, text(version)) for name, version in machine.packages.items() if name != "latedge"),
    ]
    return Section("environment", "Environment", facts("Machine and software", rows))


def settings(report: Report) -> Section:
    """The plan of the run, and what the subjects were asked to draw."""
    plan = report.plan
    turns = "in turns, picture by picture" if plan.interleaved else "one after the other"
    rows = [
        ("Command", element("code", text(report.command))),
        ("Sessions a subject", datum(plan.sessions)),
        ("Pictures a session", datum(plan.rounds)),
        ("Warm-up pictures before them", datum(plan.warmup)),
        ("Subjects", text(turns)),
    ]
    parts = [facts("Plan of the run", rows), _subjects(report), *_asked(report)]
    return Section("settings", "Settings", join(parts))


def _subjects(report: Report) -> Html:
    head = ["Subject", "program", "engine", "device", "precision", "threads", "path", "manifest"]
    rows = [
        [
            text(s.name),
            *map(words, (s.program, s.engine, s.device, s.precision)),
            "engine's choice" if s.threads is None else datum(s.threads),
            text(s.path),
            words((s.bundle_sha256 or "")[:12]),
        ]
        for s in report.subjects
    ]
    return table("Subjects", head, rows)


def _asked(report: Report) -> list[Html]:
    """What was drawn: one table for subjects that were asked the same."""
    groups: dict[Settings, list[str]] = {}
    for subject in report.subjects:
        if subject.settings is not None:
            groups.setdefault(subject.settings, []).append(subject.name)
    return [_settings(asked, names, alone=len(groups) == 1) for asked, names in groups.items()]


def _settings(asked: Settings, names: Sequence[str], *, alone: bool) -> Html:
    title = "Pictures of all subjects" if alone else f"Pictures of {', '.join(names)}"
    rows = [
        ("Prompt", text(asked.prompt)),
        ("Negative prompt", words(asked.negative_prompt)),
        ("Size", text(f"{asked.width}×{asked.height}")),
        ("Steps", datum(asked.num_inference_steps)),
        ("Sampler", text(asked.sampler)),
        ("Guidance scale", datum(asked.guidance_scale, f"{asked.guidance_scale:g}")),
        ("Seed", datum(asked.seed, str(asked.seed))),
    ]
    return join((element("h3", text(title)), facts(title, rows)))


def builds(report: Report) -> Section | None:
    """What it took to have the subjects; None where that was not measured."""
    found = [(s, s.build) for s in report.subjects if s.build is not None]
    columns: tuple[tuple[str, Callable[[Build], Html]], ...] = (
        ("export and compile", lambda b: measure(b.seconds and b.seconds * 1e3, TIMES)),
        ("peak RSS", lambda b: measure(b.peak_rss, BYTES)),
        ("installed, to run", lambda b: measure(b.installed, BYTES)),
        ("installed, to export", lambda b: measure(b.installed_export, BYTES)),
    )
    rows = [[text(s.name), *(show(build) for _, show in columns)] for s, build in found]
    head = ["Subject", *(title for title, _ in columns)]
    return Section("build", "Build", table("Build and installation", head, rows)) if rows else None


def energy(report: Report) -> Section | None:
    """Energy; None where no machine told."""
    rows = [
        [
            text(s.name),
            datum(s.energy.joules_per_picture),
            datum(s.energy.watts, significant(s.energy.watts)),
            datum(s.energy.idle_watts),
            text(s.energy.source),
        ]
        for s in report.subjects
        if s.energy is not None
    ]
    head = ["Subject", "J a picture", "W, mean", "W, idle before", "source"]
    return Section("energy", "Energy", table("Energy", head, rows)) if rows else None


def notes(report: Report) -> Section | None:
    """Errors and what is missing; None where all is whole."""
    parts = [_notes(subject) for subject in report.subjects if subject.error or _lines(subject)]
    return Section("notes", "Notes and errors", join(parts)) if parts else None


def _notes(subject: Subject) -> Html:
    error = element("p", text(subject.error), class_="error") if subject.error else ""
    listed = [element("li", text(line)) for line in _lines(subject)]
    return join(
        (element("h3", text(subject.name)), error, element("ul", *listed) if listed else "")
    )


def _lines(subject: Subject) -> list[str]:
    limits = [f"{limit.component}: {limit.note}" for limit in subject.limits if limit.note]
    return [*subject.notes, *limits, *(subject.quality.notes if subject.quality else ())]
