"""The result of a benchmark as JSON: its types, how it is read and how it is written.

Whatever is measured (bundles, torch, other programs) ends in these types, and whatever is shown
(tables, CSV, the report, comparisons with an older result) is made from them alone. Times are in
milliseconds, memory and files in bytes. A figure that could not be had is None, and `notes` says
why.

The schema's version is `major.minor`. A reader ignores fields that it doesn't know and refuses
another major.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runtimes.errors import LatedgeError

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 0
FORMAT = "latedge-bench"

LOAD = "load"
COLD_LOAD = "cold_load"
FIRST_CALL = "first_call"
TEXT_ENCODER = "text_encoder"
UNET_CALL = "unet_call"
SAMPLER = "sampler"
VAE_DECODER = "vae_decoder"
PICTURE = "picture"

STAGES: dict[str, str] = {
    COLD_LOAD: "opening the bundle in a new process, its files dropped from the page cache",
    LOAD: "opening the bundle in a new process, its files in the page cache",
    FIRST_CALL: "the first picture of a process",
    TEXT_ENCODER: "text encoder: all prompts of a picture, negative ones too",
    UNET_CALL: "one call of the U-Net, both guidance halves where they go together",
    SAMPLER: "the loop beside the U-Net: scaling, guidance, the sampler's arithmetic; a picture",
    VAE_DECODER: "VAE decoder: one picture",
    PICTURE: "a whole picture, from the prompt to its values",
}
"""Stage → what is timed. Those from the text encoder on are taken after the first call."""


Milliseconds = Annotated[float, msgspec.Meta(gt=0)]
"""A time. What is read is held to it: comparisons and plots take logarithms."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Order statistics of a stage, in milliseconds.

    Attributes:
        n: how many samples.
        min: the least.
        p50: the median.
        p90: percentiles, interpolated linearly; with fewer than 100 samples the p99 is little more
            than the largest.
        p95: likewise.
        p99: likewise.
        max: the largest.
        spread: interquartile range by the median.
    """

    n: Annotated[int, msgspec.Meta(ge=1)]
    min: Milliseconds
    p50: Milliseconds
    p90: Milliseconds
    p95: Milliseconds
    p99: Milliseconds
    max: Milliseconds
    spread: float


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """All samples of a stage.

    Attributes:
        sessions: milliseconds by session: each session is a process of its own. A session's
            samples are in the order in which they were taken; in the stages of a picture there are
            as many a picture as it has calls.
        summary: of all samples.
    """

    sessions: tuple[tuple[Milliseconds, ...], ...]
    summary: Summary


class MemoryPoint(msgspec.Struct, frozen=True, array_like=True):
    """A sample of a process tree's memory: [milliseconds since its start, bytes resident]."""

    time_ms: float
    rss_bytes: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of the process tree that ran a subject, in bytes, as the kernel counts it.

    Attributes:
        peak_rss: largest sum of the resident sets of its processes.
        peak_pss: largest proportional set size: a page that n processes share counts 1/n. Subjects
            that take turns are loaded together, and share the pages of libraries and files.
        loaded_rss: resident after loading, before the first call.
        by_stage: peak while loading ("load"), while the first picture is made ("first_call") and
            while the later ones are ("picture").
        device_peak: largest memory in use on the GPU by these processes.
        interval_ms: between two samples.
        timeline: thinned so that no peak is lost: the largest sample of each span.
        marks: when the stages of `by_stage` began, in milliseconds of the timeline.
    """

    peak_rss: int
    peak_pss: int | None = None
    loaded_rss: int | None = None
    by_stage: dict[str, int] = {}
    device_peak: int | None = None
    interval_ms: float = 0.0
    timeline: tuple[MemoryPoint, ...] = ()
    marks: dict[str, float] = {}


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures made at once.

    Attributes:
        size: how many.
        pictures_per_s: size over the median time of a batch.
        batch_ms: the median.
        peak_rss: of the process tree while the batch is made, bytes.
        error: why there is none.
    """

    size: int
    pictures_per_s: float | None = None
    batch_ms: float | None = None
    peak_rss: int | None = None
    error: str | None = None


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What a picture of another size costs.

    Attributes:
        height: in pixels.
        width: in pixels.
        unet_call_ms: median.
        vae_decoder_ms: median.
        picture_ms: median.
        peak_rss: of the process tree while it is made, bytes.
        error: why there is none.
    """

    height: int
    width: int
    unet_call_ms: float | None = None
    vae_decoder_ms: float | None = None
    picture_ms: float | None = None
    peak_rss: int | None = None
    error: str | None = None


class OpKind(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes of one kind in a graph.

    Attributes:
        kind: the operator, such as "Conv" or "MatMul".
        nodes: how many.
        flops: floating-point operations of one call; a multiplication and an addition are two.
        bytes: read and written by one call if each node reads its inputs once and writes its
            outputs once, weights as they are stored.
    """

    kind: str
    nodes: int
    flops: float
    bytes: float


class NodeCost(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its time, as the engine's own profiler tells it.

    Attributes:
        name: the node's, of the graph that the engine made of the bundle's.
        kind: the engine's operator.
        time_ms: of one call, the median over calls.
        share: of the time of all nodes.
    """

    name: str
    kind: str
    time_ms: float
    share: float


class ComponentLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A component's call beside what the machine could do at best.

    Attributes:
        component: such as "unet".
        feeds: shape of each input of the counted call, by name.
        flops: of one call; None, as the next two, where the graph couldn't be counted.
        bytes: that one call moves at least: weights, inputs and outputs once; what lies between
            nodes might stay in caches.
        bytes_by_node: the sum over nodes of what each reads and writes, the most that is moved
            where nothing is fused or cached.
        by_kind: counts by operator, most flops first.
        time_ms: median of the measured call.
        compute_ms: flops at the machine's peak.
        memory_ms: bytes at the machine's peak.
        roofline_ms: the larger of the two.
        share: roofline_ms of time_ms; 1 is the limit.
        costliest: the ten costliest nodes.
        note: what is missing here and why.
    """

    component: str
    feeds: dict[str, tuple[int, ...]]
    flops: float | None = None
    bytes: float | None = None
    bytes_by_node: float | None = None
    by_kind: tuple[OpKind, ...] = ()
    time_ms: float | None = None
    compute_ms: float | None = None
    memory_ms: float | None = None
    roofline_ms: float | None = None
    share: float | None = None
    costliest: tuple[NodeCost, ...] = ()
    note: str | None = None


class Proportion(msgspec.Struct, frozen=True, kw_only=True):
    """A share with its 95 % interval."""

    estimate: float
    low: float
    high: float
    n: int


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that was made.

    Attributes:
        prompt: of what.
        seed: of the noise.
        png: the file's bytes (base64 in JSON).
    """

    prompt: str
    seed: int
    png: bytes


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How a subject's pictures compare with the reference's of the same prompts and seeds.

    Attributes:
        reference: what made the reference pictures, such as "torch fp32, PATH"; None for none.
        psnr_db: median over the pictures that aren't equal, peak 1; None where all are (`equal`)
            or there is no reference.
        psnr_db_min: of the picture that differs most; None likewise.
        ssim: median structural similarity over pictures (Wang et al. 2004).
        ssim_min: the least.
        equal: whether all pictures equal the reference's, value by value.
        accuracy: share of prompts that the shapes model draws right, by class of prompts.
        clip_score: mean CLIP score over pictures: 100 × cosine of the embeddings, not below 0.
        clip_model: the CLIP folder.
        pictures: the first ones, in the order of `Report.reference_pictures`.
        notes: what is missing and why, a line each.
    """

    reference: str | None = None
    psnr_db: float | None = None
    psnr_db_min: float | None = None
    ssim: float | None = None
    ssim_min: float | None = None
    equal: bool = False
    accuracy: dict[str, Proportion] = {}
    clip_score: float | None = None
    clip_model: str | None = None
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of the machine while pictures were made.

    Attributes:
        source: "rapl" (processor package) or "battery" (the whole device).
        joules_per_picture: over the measured pictures, the idle power not taken off.
        watts: mean power meanwhile.
        idle_watts: mean power before.
    """

    source: Literal["rapl", "battery"]
    joules_per_picture: float
    watts: float
    idle_watts: float | None = None


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What it took to have the subject.

    Attributes:
        seconds: export and compilation, from process start to end.
        peak_rss: of their process trees, bytes.
        installed: size of the environment that the subject runs in, bytes.
        installed_export: size of the environment that made it, where that is another.
    """

    seconds: float | None = None
    peak_rss: int | None = None
    installed: int | None = None
    installed_export: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every subject was asked to draw."""

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    sampler: str
    seed: int
    height: int
    width: int


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a bundle, or another program on the same model.

    Attributes:
        name: short and unique in the report.
        program: "latedge", "diffusers", "optimum-onnx", …
        path: what was opened.
        engine: with its version.
        device: as the engine names it.
        precision: of the U-Net's weights as stored.
        threads: within an operation; None where the engine chose.
        model_sha256: of the source model; None where it is not known.
        bundle_sha256: of the bundle's manifest.
        settings: of its pictures.
        size_bytes: of its files on disk.
        stages: by name of `STAGES`.
        memory: None where it could not be sampled.
        batches: throughput by batch size.
        resolutions: cost by size of the picture.
        limits: by component.
        quality: beside the reference.
        energy: where the machine tells.
        build: export and installation.
        error: why the row is not whole: what crashed, in one line.
        notes: what is missing and why, a line each.
    """

    name: str
    program: str
    path: str
    engine: str = ""
    device: str = ""
    precision: str = ""
    threads: int | None = None
    model_sha256: str | None = None
    bundle_sha256: str | None = None
    settings: Settings | None = None
    size_bytes: int | None = None
    stages: dict[str, Stage] = {}
    memory: Memory | None = None
    batches: tuple[Batch, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    limits: tuple[ComponentLimit, ...] = ()
    quality: Quality | None = None
    energy: Energy | None = None
    build: Build | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


Verdict = Literal["faster", "slower", "no difference"]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of one subject by the same stage of another, pair by pair.

    Attributes:
        stage: of `STAGES`.
        subject: name of the one above the line.
        baseline: name of the one below: 1.05 says that the subject takes 5 % longer.
        estimate: of the ratio.
        low: lower end of its confidence interval.
        high: upper end.
        confidence: of the interval, such as 0.95, all stages of a pair taken together.
        pairs: how many pairs it rests on.
        verdict: what the interval allows to say.
    """

    stage: str
    subject: str
    baseline: str
    estimate: float
    low: float
    high: float
    confidence: float
    pairs: int
    verdict: Verdict


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's own limits, measured in the same run.

    Attributes:
        flops_per_s: of a float32 matrix product by NumPy's BLAS with all threads of the run; the
            best of several.
        bytes_per_s: of a copy of arrays far larger than the caches, read and written bytes.
        threads: both were measured with.
    """

    flops_per_s: float
    bytes_per_s: float
    threads: int


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """How steady the machine was.

    Attributes:
        load_before: one-minute load average when the run began; None where the system has none.
        others_share: share of all processor time that processes outside the run took, the mean
            over the run.
        others_share_max: of the worst round.
        steal_share: share of processor time that a hypervisor took away.
        reference: milliseconds of one fixed calculation, repeated between rounds.
        drift: last third of those by the first third, less 1: above 0 the machine became slower.
        frequency_drop: lowest processor frequency by the highest, less 1; None where it isn't told.
        temperature_c: highest sensor reading; None where there is no sensor.
        verdict: "quiet", "noisy" or "throttled".
        reasons: what led to it, a line each.
    """

    load_before: float | None
    others_share: float | None
    others_share_max: float | None
    steal_share: float | None
    reference: Summary
    drift: float
    frequency_drop: float | None
    temperature_c: float | None
    verdict: Literal["quiet", "noisy", "throttled"]
    reasons: tuple[str, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the run took place.

    Attributes:
        system: such as "Linux 6.1 x86_64".
        processor: its model.
        cores: logical ones that the process may use.
        memory_bytes: installed.
        devices: GPUs, with driver, as far as they are told.
        python: its version.
        packages: version by package.
        power: "mains", "battery", or None where it isn't told.
        governor: of the processor's frequency; None where it isn't told.
    """

    system: str
    processor: str
    cores: int
    memory_bytes: int
    devices: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = {}
    power: str | None = None
    governor: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How the run was made.

    Attributes:
        sessions: processes of each subject, one after the other.
        rounds: pictures of each subject in a session, the subjects in turns.
        warmup: pictures before them, the first call among these.
        interleaved: whether the subjects took turns picture by picture.
    """

    sessions: int
    rounds: int
    warmup: int
    interleaved: bool = True


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        format: always `FORMAT`.
        schema: "major.minor".
        date: of the run's start, ISO 8601, UTC.
        command: as the user typed it.
        version: of latedge.
        machine: where.
        plan: how.
        subjects: the rows, in the order given.
        ratios: of each subject after the first by the first.
        peaks: the machine's limits; None where they were not asked for.
        noise: how steady the machine was.
        reference_pictures: of the prompts that every subject drew.
    """

    format: str = FORMAT
    schema: str = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"
    date: str
    command: str
    version: str
    machine: Machine
    plan: Plan
    subjects: tuple[Subject, ...]
    ratios: tuple[Ratio, ...] = ()
    peaks: Peaks | None = None
    noise: Noise | None = None
    reference_pictures: tuple[Picture, ...] = ()


class ResultError(LatedgeError):
    """A file that is no result of `latedge bench`, or one of another schema."""


class _Header(msgspec.Struct):
    format: str = ""
    schema: str = ""


def encode(report: Report) -> bytes:
    """The bytes of a result: two spaces of indent, a line end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def read(path: Path) -> Report:
    """Reads a result.

    Raises:
        ResultError: the file can't be read, isn't a result, has another major version, or its
            figures are none.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ResultError(f"{path} can't be read: {e.strerror}.") from e
    try:
        _check_header(path, msgspec.json.decode(raw, type=_Header))
        found = msgspec.json.decode(raw, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ResultError(f"{path} is not a result of `latedge bench`: {e}.") from e
    _check_subjects(path, found.subjects)
    return found


def _check_subjects(path: Path, subjects: Sequence[Subject]) -> None:
    names = [subject.name for subject in subjects]
    for subject in subjects:
        if names.count(subject.name) > 1:
            raise ResultError(f"{path}: two subjects have the name {subject.name!r}.")
        for name, stage in subject.stages.items():
            if not any(stage.sessions):
                raise ResultError(f"{path}: {name} of {subject.name!r} has no samples.")


def _check_header(path: Path, found: _Header) -> None:
    if found.format != FORMAT:
        raise ResultError(
            f"{path} is not a result of `latedge bench`: its `format` is {found.format!r}, not "
            f"{FORMAT!r}. Make one with `latedge bench BUNDLE --json`."
        )
    major, dot, minor = found.schema.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise ResultError(f"{path}: `schema` is {found.schema!r}, not major.minor.")
    if int(major) != SCHEMA_MAJOR:
        raise ResultError(
            f"{path}: schema {found.schema} can't be read by this version of latedge, which reads "
            f"{SCHEMA_MAJOR}.x. Measure again, or use the version that made it."
        )
