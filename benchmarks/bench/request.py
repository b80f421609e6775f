"""What a user asks of `latedge bench`: checked before any slow work, then made into a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.entry import (
    Entry,
    bundle_entry,
    check_same_model,
    torch_entry,
    unique_names,
)
from benchmarks.bench.judge import Judging
from benchmarks.bench.reference import check_torch, is_diffusers
from benchmarks.bench.results import Plan, Report, Settings
from exporter.sources.folder import open_folder
from runtimes.bundle import Bundle, open_bundle
from runtimes.checks import MAX_IMAGES, check_count
from runtimes.errors import BundleError, UsageError, unknown_name
from runtimes.settle import settle

Tell = Callable[[str], None]

TORCH = ("torch", "torch-compiled")
"""What `--against` takes."""

MOST = 10_000


@dataclass(frozen=True)
class Request:
    """The options of the command line; `latedge bench --help` says what each is."""

    paths: tuple[Path, ...]
    prompt: str
    negative_prompt: str
    steps: int
    guidance_scale: float | None
    sampler: str | None
    seed: int
    height: int | None
    width: int | None
    device: str
    threads: int | None
    sessions: int
    rounds: int
    warmup: int
    interleaved: bool
    batches: str
    sizes: str
    limits: bool
    against: str | None
    source: Path | None
    different_models: bool
    quality: int
    reference: Path | None
    clip: Path | None
    shapes_prompts: int

    def run(self, command: str, tell: Tell) -> Report:
        """Checks everything, then measures.

        Args:
            command: as the user typed it.
            tell: progress, a line at a time.

        Raises:
            UsageError: an option is wrong, or the bundles can't be compared.
            BundleError: a bundle is refused.
        """
        from benchmarks.bench.rows import Options
        from benchmarks.bench.run import Run

        plan = Plan(
            sessions=check_count("--sessions", self.sessions, MOST),
            rounds=check_count("--rounds", self.rounds, MOST),
            warmup=check_count("--warmup", self.warmup, MOST),
            interleaved=self.interleaved,
        )
        if self.threads is not None:
            check_count("--threads", self.threads, 4096)
        self._check_device()
        batches, sizes = parse_counts(self.batches), parse_sizes(self.sizes)
        self._check_texts()
        bundles = [_compiled(path) for path in self.paths]
        settings = self._settings(bundles)
        for height, width in sizes:
            check_size(bundles, height, width)
        entries = self._entries(bundles)
        options = Options(
            plan=plan,
            device=self.device,
            threads=self.threads,
            batches=batches,
            sizes=sizes,
            limits=self.limits,
        )
        judging = self._judging()
        if judging is not None:
            judging.check(bundles, settings)
        judge = judging.open(bundles, settings, tell) if judging else None
        return Run(entries, settings, options, judge, command, tell).report()

    def _check_device(self) -> None:
        """What Core ML's packages are verified on is slow by design."""
        if self.device.lower().startswith("reference"):
            raise UsageError(
                f"--device {self.device} evaluates Core ML's packages in NumPy, to verify them; it "
                "is no engine to time. Give all, cpu, gpu or npu, on a Mac."
            )

    def _check_texts(self) -> None:
        """A result is UTF-8, and so must be what stands in it."""
        paths = (*self.paths, self.source, self.reference, self.clip)
        resolved = (str(path.resolve()) for path in paths if path is not None)
        for text in (self.prompt, self.negative_prompt, *resolved):
            try:
                text.encode()
            except UnicodeEncodeError as e:
                raise UsageError(f"{text!r} is not valid UTF-8, as a result must be.") from e

    def _settings(self, bundles: Sequence[Bundle]) -> Settings:
        """What isn't said comes from the first bundle, and the others draw the same."""
        guidance, sampler = self.guidance_scale, self.sampler
        height, width = self.height, self.width
        for bundle in bundles:
            found = settle(
                bundle,
                self.prompt,
                self.negative_prompt,
                num_inference_steps=self.steps,
                guidance_scale=guidance,
                seed=self.seed,
                sampler=sampler,
                height=height,
                width=width,
            )
            guidance, sampler = found.guidance_scale, found.sampler
            height, width = found.height, found.width
        assert guidance is not None
        assert sampler is not None
        assert height is not None
        assert width is not None
        return Settings(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            num_inference_steps=self.steps,
            guidance_scale=guidance,
            sampler=sampler,
            seed=self.seed,
            height=height,
            width=width,
        )

    def _entries(self, bundles: Sequence[Bundle]) -> list[Entry]:
        taken = [] if self.against is None else [self.against]
        names = unique_names([bundle.path for bundle in bundles], taken)
        entries = [
            bundle_entry(name, bundle, self.device, self.threads)
            for name, bundle in zip(names, bundles, strict=True)
        ]
        if not self.different_models:
            check_same_model([*entries, *self._reference_entry()])
        if self.source is not None and self.against is None:
            raise UsageError("--source is for --against torch, which isn't asked for.")
        if self.against is not None:
            if self.against not in TORCH:
                raise unknown_name("what to compare with (--against)", self.against, TORCH)
            check_torch(f"--against {self.against}")
            if self.source is not None:
                open_folder(self.source)
            compiled = self.against == "torch-compiled"
            entries.append(torch_entry(bundles, self.source, self.threads, compiled=compiled))
        return entries

    def _reference_entry(self) -> list[Entry]:
        """Of a reference that is a bundle, which tells the model it was made from."""
        if self.reference is None or is_diffusers(self.reference):
            return []
        return [bundle_entry("reference", open_bundle(self.reference), "cpu", None)]

    def _judging(self) -> Judging | None:
        if self.quality < 0 or self.shapes_prompts < 0:
            raise UsageError("--quality and --shapes-prompts are 0 or more.")
        if not self.quality and (self.reference or self.clip or self.shapes_prompts):
            raise UsageError(
                "--reference, --clip and --shapes-prompts judge pictures: --quality must be 1 or "
                "more."
            )
        if not self.quality:
            return None
        return Judging(
            check_count("--quality", self.quality, MOST),
            self.reference,
            self.clip,
            self.shapes_prompts,
            self.threads,
        )


def parse_counts(text: str) -> tuple[int, ...]:
    """Reads "1,2,4".

    Raises:
        UsageError: something in it is no whole number from 1 to `MAX_IMAGES`.
    """
    found: list[int] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        if not re.fullmatch("[0-9]{1,5}", part) or not 1 <= int(part) <= MAX_IMAGES:
            raise UsageError(
                f"--batches takes whole numbers from 1 to {MAX_IMAGES}, such as 1,2,4; given "
                f"{part!r}."
            )
        found.append(int(part))
    return tuple(found)


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Reads "256x256,512x384" (width x height) as (height, width) pairs.

    Raises:
        UsageError: something in it is no size.
    """
    found: list[tuple[int, int]] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = re.fullmatch("([0-9]{1,5})[x×]([0-9]{1,5})", part)
        if match is None:
            raise UsageError(
                f"--sizes takes width x height, such as 256x256,512x512; given {part!r}."
            )
        found.append((int(match[2]), int(match[1])))
    return tuple(found)


def check_size(bundles: Sequence[Bundle], height: int, width: int) -> None:
    """Refuses a size that no bundle can draw; where some can, it is told in the others' rows.

    Raises:
        UsageError: of the first bundle.
    """
    refusals: list[UsageError] = []
    for bundle in bundles:
        try:
            settle(bundle, "", height=height, width=width)
        except UsageError as e:
            refusals.append(e)
    if len(refusals) == len(bundles):
        raise UsageError(f"--sizes: {refusals[0]}") from refusals[0]


def _compiled(path: Path) -> Bundle:
    bundle = open_bundle(path)
    if bundle.manifest.target is None and not _is_compiled(bundle):
        raise BundleError(
            f"{path} is portable and can't run yet. Compile it first: latedge compile {path} "
            f"--target onnxruntime -o {path}.ort"
        )
    return bundle


def _is_compiled(bundle: Bundle) -> bool:
    """A folder that Optimum exported has no target, but engines."""
    return bundle.graph("unet").engine is not None
