"""What each program's own exporter makes of the model, how long it takes and how much memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.bench.memory import MemorySampler
from benchmarks.bench.process_tree import SamplerError
from benchmarks.environments.environment import HERE, REPOSITORY, Environment
from benchmarks.interop.folders import check_prefix, check_weights
from benchmarks.peers.model import Model


@dataclass(frozen=True)
class Export:
    """A folder that a program makes of the model.

    Attributes:
        name: of the folder.
        environment: that it is made in.
        command: in that environment; {source}, {output} and {before} are put in.
        before: the export that this one starts from, whose time and memory belong to it.
        memory: free memory that it asks for, by the weights in float32; as SD 1.5 took.
    """

    name: str
    environment: str
    command: tuple[str, ...]
    before: str | None = None
    memory: float = 1.0


_SOURCE = ("--model", "{source}", "--task", "text-to-image")
_INTEL = ("optimum-cli", "export", "openvino", *_SOURCE, "--weight-format")


def _compile(target: str, precision: str) -> Export:
    command = ("-m", "latedge", "compile", "{before}", "--target", target)
    options = ("--precision", precision, "--force", "-o", "{output}")
    name = f"latedge-{target}-{precision}"
    return Export(name, "latedge-export", (*command, *options), before="latedge-portable")


EXPORTS: Mapping[str, Export] = {
    export.name: export
    for export in (
        Export(
            "optimum-onnx-fp32",
            "optimum-onnx",
            ("optimum-cli", "export", "onnx", *_SOURCE, "{output}"),
            memory=2.7,
        ),
        Export("optimum-intel-fp16", "optimum-intel", (*_INTEL, "fp16", "{output}"), memory=3.7),
        Export("optimum-intel-int8", "optimum-intel", (*_INTEL, "int8", "{output}"), memory=3.6),
        Export(
            "latedge-portable",
            "latedge-export",
            # The peers don't compare what they export with torch, and so their times hold none.
            (
                "-m",
                "latedge",
                "export",
                "{source}",
                "--verify",
                "none",
                "--force",
                "-o",
                "{output}",
            ),
        ),
        _compile("onnxruntime", "fp32"),
        _compile("onnxruntime", "fp16"),
        _compile("openvino", "fp16"),
    )
}


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """An export that was made; kept beside it as JSON.

    Attributes:
        made_from: what it depends on, as a hash.
        seconds: that it took, with what it started from.
        peak_rss: of the process tree, bytes; None where it couldn't be sampled.
        notes: what is to know about that, a line each.
    """

    made_from: str
    seconds: float
    peak_rss: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exporter:
    """Makes exports of a model, each once.

    Attributes:
        model: what is exported.
        base: folder of the exports.
        prepare: gives an environment by its name.
        timeout_s: how long each export may take.
        progress: told what is made.
        check_memory: refuses work that asks for more memory than is free.
    """

    model: Model
    base: Path
    prepare: Callable[[str], Environment]
    timeout_s: float
    progress: Callable[[str], None]
    check_memory: Callable[[str, float], None]

    def path(self, name: str) -> Path:
        """Where an export lies."""
        return self.base / name

    def make(self, name: str) -> Made:
        """Makes an export, or takes the one that was made from the same.

        Raises:
            LatedgeError: it failed, took too long, or made up weights; in one line.
        """
        export = EXPORTS[name]
        before = None if export.before is None else self.make(export.before)
        wanted = self._made_from(export, before)
        stamp = self.base / f"{name}.json"
        with suppress(OSError, msgspec.DecodeError):
            kept = msgspec.json.decode(stamp.read_bytes(), type=Made)
            if kept.made_from == wanted and self.path(name).is_dir():
                return kept
        environment = self.prepare(export.environment)
        self.check_memory(f"exporting {name}", export.memory)
        self.progress(f"exporting {name}")
        made = self._run(export, environment, wanted)
        if before is not None:
            made = _after(before, made)
        stamp.write_bytes(msgspec.json.encode(made))
        return made

    def _run(self, export: Export, environment: Environment, made_from: str) -> Made:
        """Runs the exporter; the folder appears whole or not at all."""
        output, partial = self.path(export.name), self.path(f"{export.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self.base.mkdir(parents=True, exist_ok=True)
        command = [
            part.format(
                source=self.model.folder,
                output=partial,
                before=None if export.before is None else self.path(export.before),
            )
            for part in export.command
        ]
        peers = environment.name.startswith("optimum")
        if peers:
            check_prefix(self.model.folder)
        watched = _Watched()
        start = time.perf_counter()
        try:
            printed = environment.run(command, timeout_s=self.timeout_s, started=watched.start)
            seconds = time.perf_counter() - start
            if peers:
                check_weights(export.name, printed)
            shutil.rmtree(output, ignore_errors=True)
            os.replace(partial, output)
        finally:
            watched.stop()
            shutil.rmtree(partial, ignore_errors=True)
        return Made(
            made_from=made_from, seconds=seconds, peak_rss=watched.peak_rss, notes=watched.notes
        )

    def _made_from(self, export: Export, before: Made | None) -> str:
        parts = [self.model.fingerprint, *export.command, before.made_from if before else ""]
        parts.append((HERE / f"{export.environment}.txt").read_text(encoding="utf-8"))
        if export.environment.startswith("latedge"):
            parts.append(own_code())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _after(before: Made, made: Made) -> Made:
    """An export with what it started from: the sum of times, the larger of the peaks."""
    peaks = [each.peak_rss for each in (before, made) if each.peak_rss is not None]
    return Made(
        made_from=made.made_from,
        seconds=before.seconds + made.seconds,
        peak_rss=max(peaks, default=None),
        notes=(*before.notes, *made.notes),
    )


class _Watched:
    """The memory of a process that is started elsewhere.

    Attributes:
        peak_rss: of its tree, bytes, once it has stopped; None where it isn't known.
        notes: what is to know about that.
    """

    def __init__(self) -> None:
        self._sampler: MemorySampler | None = None
        self.peak_rss: int | None = None
        self.notes: tuple[str, ...] = ()

    def start(self, pid: int) -> None:
        """Begins to sample; a process that has ended already has no figure."""
        with suppress(SamplerError):
            self._sampler = MemorySampler(pid)
            self._sampler.start()

    def stop(self) -> None:
        """Ends sampling."""
        if self._sampler is None:
            return
        try:
            found = self._sampler.stop()
        except SamplerError as e:
            self.notes = (f"export: {e}",)
            return
        self.peak_rss = found.peak_rss
        told = [note for note in self._sampler.notes if note.startswith("peak memory")]
        if found.peak_pss is not None:
            # What processes share, such as a parent's pages in a forked child, counts once here.
            told.append(f"largest proportional set size {found.peak_pss / 1e9:.2f} GB")
        self.notes = tuple(f"export: {note}" for note in told)


def own_code() -> str:
    """A hash over latedge's own source: what it exports changes with it."""
    digest = hashlib.sha256()
    for package in ("exporter", "runtimes"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
