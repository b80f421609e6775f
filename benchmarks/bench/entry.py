"""What is measured: a bundle, or whatever else answers the protocol, and what is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench.client import Program, python_worker
from benchmarks.bench.protocol import Ask
from benchmarks.bench.results import Settings
from runtimes.errors import UsageError

if TYPE_CHECKING:
    from runtimes.bundle import Bundle


@dataclass(frozen=True)
class Entry:
    """A subject before it is measured.

    Attributes:
        name: short and unique among those of a run.
        program: how its process is started.
        label: what runs it: "latedge", "torch", "diffusers", …
        path: what is opened.
        files: those that loading reads, for cold loads and for the size on disk.
        bundle: where the subject is one of latedge's bundles.
        model_sha256: of the source model, where it is known.
    """

    name: str
    program: Program
    label: str
    path: Path
    files: tuple[Path, ...]
    bundle: Bundle | None = None
    model_sha256: str | None = None


def bundle_entry(name: str, bundle: Bundle, device: str, threads: int | None) -> Entry:
    """A compiled bundle, in latedge's own runtime."""
    arguments = [str(bundle.path), "--device", device]
    if threads is not None:
        arguments += ["--threads", str(threads)]
    return Entry(
        name=name,
        program=python_worker("benchmarks.bench.worker", arguments),
        label="latedge",
        path=bundle.path,
        files=files_of(bundle.path),
        bundle=bundle,
        model_sha256=bundle.manifest.provenance.source_sha256 or None,
    )


def files_of(folder: Path) -> tuple[Path, ...]:
    """All files below a folder."""
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


def unique_names(paths: Sequence[Path], taken: Iterable[str] = ()) -> list[str]:
    """The last part of each path, with the one before it where others end alike.

    What is given twice, or has a name that is taken, is numbered.
    """
    parts = [path.resolve().parts for path in paths]
    ends = Counter(each[-1] for each in set(parts))
    used = set(taken)
    names: list[str] = []
    for each in parts:
        name = each[-1] if ends[each[-1]] == 1 else "/".join(each[-2:])
        numbered = (f"{name} ({number})" for number in count(2))
        names.append(next(one for one in chain([name], numbered) if one not in used))
        used.add(names[-1])
    return names


def check_same_model(entries: Iterable[Entry]) -> None:
    """Refuses subjects that were made from different models.

    Raises:
        UsageError: names two of them.
    """
    known = [entry for entry in entries if entry.model_sha256 is not None]
    for entry in known[1:]:
        if entry.model_sha256 != known[0].model_sha256:
            raise UsageError(
                f"{entry.path} and {known[0].path} were made from different models, whose times "
                "and pictures say nothing of each other. Compare bundles of one model, or say "
                "--different-models."
            )


def ask_of(settings: Settings, *, count: int = 1, picture: Path | None = None) -> Ask:
    """The request for pictures of settings."""
    return Ask(
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        sampler=settings.sampler,
        seed=settings.seed,
        height=settings.height,
        width=settings.width,
        count=count,
        picture=None if picture is None else str(picture),
    )


def torch_entry(
    bundles: Sequence[Bundle], source: Path | None, threads: int | None, *, compiled: bool
) -> Entry:
    """The networks in torch, float32, in the runtime of latedge: only the engine is another.

    Args:
        bundles: the first that holds its weights in floats is taken.
        source: the Diffusers folder, where none does.
        threads: within an operation.
        compiled: by `torch.compile`.

    Raises:
        UsageError: there is nowhere to take the weights from.
    """
    from benchmarks.bench.torch_subject import weights_bundle

    bundle = weights_bundle(bundles, source)
    arguments = [str(bundle.path)]
    if source is not None:
        arguments += ["--source", str(source)]
    if compiled:
        arguments.append("--compile")
    if threads is not None:
        arguments += ["--threads", str(threads)]
    return Entry(
        name="torch-compiled" if compiled else "torch",
        program=python_worker("benchmarks.bench.torch_subject", arguments),
        label="torch",
        path=source or bundle.path,
        files=files_of(source or bundle.path),
        model_sha256=bundle.manifest.provenance.source_sha256 or None,
    )
