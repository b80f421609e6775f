"""What the report calls the parts of a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.bench import results
from benchmarks.bench.results import Report, Subject
from benchmarks.report.markup import short

STAGE_TITLES = {
    results.PICTURE: "Whole picture",
    results.UNET_CALL: "U-Net call",
    results.VAE_DECODER: "VAE decoder",
    results.TEXT_ENCODER: "Text encoder",
    results.SAMPLER: "Sampler",
    results.FIRST_CALL: "First call",
    results.LOAD: "Load, warm",
    results.COLD_LOAD: "Load, cold",
}
"""Stage → its title, in the order of the report."""

COMPONENT_TITLES = {
    "unet": "U-Net",
    "vae_decoder": "VAE decoder",
    "vae_encoder": "VAE encoder",
    "text_encoder": "Text encoder",
}


CLASSES = {"single": "one object right", "pair": "two objects right"}
"""Class of the shapes model's prompts → what its share is called."""


def class_title(name: str) -> str:
    """A class of prompts as the report calls it."""
    return CLASSES.get(name, short(name, 40))


def stage_title(stage: str) -> str:
    """A stage as the report calls it."""
    return STAGE_TITLES.get(stage, stage)


def component_title(component: str) -> str:
    """A component as the report calls it."""
    return COMPONENT_TITLES.get(component, component)


def stages_of(report: Report) -> list[str]:
    """The stages that any subject has, in the order of the report."""
    return in_order(
        (stage for subject in report.subjects for stage in subject.stages), STAGE_TITLES
    )


def components_of(report: Report) -> list[str]:
    """The components that any subject has limits of, in the order of the report."""
    found = (limit.component for subject in report.subjects for limit in subject.limits)
    return in_order(found, COMPONENT_TITLES)


def in_order(found: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names without repetition: the known ones in their order, then the others as they come."""
    names = list(dict.fromkeys(found))
    order = list(known)
    return [name for name in order if name in names] + [n for n in names if n not in order]


def stage_of_memory(stage: str) -> str:
    """A span of the memory's timeline, as the report calls it."""
    titles = {results.LOAD: "loading", "first_call": "first picture", "picture": "later pictures"}
    return titles.get(stage, stage)


def indexed(report: Report) -> Sequence[tuple[int, Subject]]:
    """The subjects with their numbers, which are their colours."""
    return list(enumerate(report.subjects))
