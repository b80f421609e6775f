"""A result with everything in it that a report can show; the same in every run."""

from __future__ import annotations

import io
import math

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.bench import results
from benchmarks.bench.results import (
    Batch,
    Build,
    ComponentLimit,
    Energy,
    Machine,
    Memory,
    MemoryPoint,
    NodeCost,
    Noise,
    OpKind,
    Peaks,
    Picture,
    Plan,
    Proportion,
    Quality,
    Ratio,
    Report,
    Resolution,
    Settings,
    Stage,
    Subject,
    Summary,
)

STAGE_MS = {
    results.COLD_LOAD: 4_300.0,
    results.LOAD: 1_640.0,
    results.FIRST_CALL: 26_900.0,
    results.TEXT_ENCODER: 61.0,
    results.UNET_CALL: 1_120.0,
    results.SAMPLER: 4.2,
    results.VAE_DECODER: 1_930.0,
    results.PICTURE: 24_500.0,
}
PEAKS = Peaks(flops_per_s=1.31e12, bytes_per_s=41.0e9, threads=8)
PROMPTS = ("a lighthouse at dusk, oil on canvas", "a red circle above a blue square")


def sample() -> Report:
    """Two subjects and a third that crashed, all sections filled."""
    subjects = (_subject("ort-fp32", 0, 1.0), _subject("openvino-fp16", 1, 0.83), _crashed())
    return Report(
        date="2026-11-25T18:04:00Z",
        command="latedge bench sd15.ort sd15.ov --against torch --sessions 3 --rounds 5 --json",
        version="0.1.0",
        machine=_machine(),
        plan=Plan(sessions=3, rounds=5, warmup=1),
        subjects=subjects,
        ratios=tuple(_ratio(stage, i) for i, stage in enumerate(STAGE_MS)),
        peaks=PEAKS,
        noise=_noise(),
        reference_pictures=tuple(_picture(i, 0) for i in range(len(PROMPTS))),
    )


HOSTILE = (
    "</script></style><script>document.title='taken'</script><!--<script> \"onerror=x' & `${1}` "
    "<img src=http://example.invalid/x onerror=alert(1)>%{y}<br><a href='http://example.invalid'> "
    "\u2028\u202e\x00\x07\x9b العربية 日本語 🎨"
)
LONG = "0123456789" * 1000


def hostile() -> Report:
    """The sample with texts that try to become markup, code or a broken layout."""
    base, other, crashed = sample().subjects
    replace = msgspec.structs.replace
    asked = replace(_settings(), prompt=HOSTILE + LONG, negative_prompt=HOSTILE, sampler=HOSTILE)
    quality = other.quality
    assert quality is not None
    pictures = tuple(replace(p, prompt=HOSTILE + LONG) for p in quality.pictures)
    limit = replace(
        other.limits[1],
        component=HOSTILE,
        feeds={HOSTILE: (1,)},
        note=HOSTILE,
        costliest=(replace(other.limits[1].costliest[0], name=HOSTILE + LONG, kind=HOSTILE),),
        by_kind=(replace(other.limits[1].by_kind[0], kind=HOSTILE),),
    )
    named = replace(
        other,
        name=HOSTILE,
        engine=HOSTILE,
        device=HOSTILE,
        path=HOSTILE,
        settings=asked,
        stages={**other.stages, HOSTILE: other.stages[results.PICTURE]},
        limits=(limit,),
        quality=replace(
            quality,
            reference=HOSTILE,
            clip_model=LONG,
            pictures=pictures,
            accuracy={HOSTILE: quality.accuracy["pair"]},
        ),
        batches=(Batch(size=1, pictures_per_s=1.0), Batch(size=2, error=HOSTILE)),
        notes=(HOSTILE, LONG),
    )
    ratio = replace(sample().ratios[0], subject=HOSTILE, stage=HOSTILE)
    noise = replace(_noise(), reasons=(HOSTILE, LONG))
    machine = replace(_machine(), processor=HOSTILE, packages={HOSTILE: HOSTILE, LONG: LONG})
    return replace(
        sample(),
        date=HOSTILE,
        command=HOSTILE + LONG,
        version=HOSTILE,
        subjects=(base, named, replace(crashed, name=LONG, error=HOSTILE + LONG)),
        ratios=(ratio,),
        noise=noise,
        machine=machine,
        reference_pictures=pictures,
    )


def summarize(values: list[float]) -> Summary:
    """The statistics of a stage."""
    low, p25, p50, p75, p90, p95, p99 = np.percentile(values, (0, 25, 50, 75, 90, 95, 99)).tolist()
    return Summary(
        n=len(values),
        min=low,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=max(values),
        spread=(p75 - p25) / p50,
    )


def _stage(name: str, number: int, factor: float) -> Stage:
    calls = {results.UNET_CALL: 100, results.LOAD: 1, results.COLD_LOAD: 1, results.FIRST_CALL: 1}
    draw = np.random.default_rng([number, len(name)])
    sessions = tuple(
        tuple((STAGE_MS[name] * factor * draw.lognormal(0, 0.04, calls.get(name, 5))).tolist())
        for _ in range(3)
    )
    return Stage(sessions=sessions, summary=summarize([v for s in sessions for v in s]))


def _subject(name: str, number: int, factor: float) -> Subject:
    stages = {stage: _stage(stage, number, factor) for stage in STAGE_MS}
    if number:
        del stages[results.COLD_LOAD]
    return Subject(
        name=name,
        program="latedge",
        path=f"bundles/{name}",
        engine="onnxruntime 1.32.0" if number == 0 else "openvino 2026.4.1",
        device="cpu",
        precision="fp32" if number == 0 else "fp16",
        threads=8 if number == 0 else None,
        model_sha256="ab" * 32,
        bundle_sha256="cd" * 32,
        settings=_settings(),
        size_bytes=int(4.27e9 * (1 - number / 2)),
        stages=stages,
        memory=_memory(number),
        batches=_batches(number, factor),
        resolutions=_resolutions(number, factor),
        limits=_limits(number, factor),
        quality=_quality(number),
        energy=Energy(source="rapl", joules_per_picture=812.5 * factor, watts=33.1, idle_watts=9.4)
        if number == 0
        else None,
        build=Build(seconds=182.0, peak_rss=9_100_000_000, installed=412_000_000)
        if number == 0
        else None,
        notes=("energy: this engine ran where no counter was open.",) if number else (),
    )


def _crashed() -> Subject:
    return Subject(
        name="torch",
        program="diffusers",
        path="models/sd15",
        engine="torch 2.13.0",
        device="cpu",
        precision="fp16",
        settings=_settings(),
        size_bytes=2_130_000_000,
        error="the process ended by SIGKILL in session 1, round 2: out of memory.",
        notes=("memory: the process ended before it was sampled.",),
    )


def _settings() -> Settings:
    return Settings(
        prompt=PROMPTS[0],
        negative_prompt="blurry",
        num_inference_steps=20,
        guidance_scale=7.5,
        sampler="ddim",
        seed=7,
        height=512,
        width=512,
    )


def _memory(number: int) -> Memory:
    top, loaded = (6.1e9, 3.9e9) if number == 0 else (4.4e9, 1.9e9)
    times = [250.0 * i for i in range(480)]
    return Memory(
        peak_rss=int(top),
        peak_pss=int(top * 0.97),
        loaded_rss=int(loaded),
        by_stage={"load": int(loaded * 1.1), "first_call": int(top), "picture": int(top * 0.96)},
        interval_ms=5.0,
        timeline=tuple(MemoryPoint(t, _resident(t, top, loaded)) for t in times),
        marks={"load": 900.0, "first_call": 6_200.0 + 900 * number, "picture": 33_000.0},
    )


def _resident(time_ms: float, top: float, loaded: float) -> int:
    if time_ms < 6_000:
        return int(6e7 + (loaded - 6e7) * max(0.0, time_ms - 900) / 5_100)
    phase = (time_ms - 6_000) % 26_000 / 26_000
    return int(
        loaded + (top - loaded) * (0.6 + 0.08 * math.sin(40 * phase) if phase < 0.9 else 1.0)
    )


def _batches(number: int, factor: float) -> tuple[Batch, ...]:
    timed = tuple(
        Batch(
            size=size,
            pictures_per_s=size / (24.5 * factor * (0.25 + 0.75 * size)),
            batch_ms=24_500 * factor * (0.25 + 0.75 * size),
            peak_rss=int((6.1e9 - 1.7e9 * number) * (0.8 + 0.2 * size)),
        )
        for size in (1, 2, 4)
    )
    return (*timed, Batch(size=8, error="out of memory")) if number == 0 else timed


def _resolutions(number: int, factor: float) -> tuple[Resolution, ...]:
    return tuple(
        Resolution(
            height=side,
            width=side,
            unet_call_ms=1_120 * factor * (side / 512) ** 2.3,
            vae_decoder_ms=1_930 * factor * (side / 512) ** 2,
            picture_ms=24_500 * factor * (side / 512) ** 2.25,
            peak_rss=int((6.1e9 - 1.7e9 * number) * (0.6 + 0.4 * (side / 512) ** 2)),
        )
        for side in (256, 384, 512, 768)
    )


def _limits(number: int, factor: float) -> tuple[ComponentLimit, ...]:
    weights = 4 - 2 * number
    return (
        _limit("text_encoder", 13.1e9, 123e6 * weights, 61 * factor),
        _limit("unet", 803e9, 860e6 * weights, 1_120 * factor),
        _limit("vae_decoder", 1_240e9, 50e6 * weights, 1_930 * factor),
    )


def _limit(component: str, flops: float, moved: float, time_ms: float) -> ComponentLimit:
    compute_ms, memory_ms = flops / PEAKS.flops_per_s * 1e3, moved / PEAKS.bytes_per_s * 1e3
    roofline_ms = max(compute_ms, memory_ms)
    return ComponentLimit(
        component=component,
        feeds={"sample": (2, 4, 64, 64), "timestep": ()} if component == "unet" else {},
        flops=flops,
        bytes=moved,
        bytes_by_node=moved * 3.4,
        by_kind=(
            OpKind(kind="Conv", nodes=98, flops=flops * 0.7, bytes=moved * 1.9),
            OpKind(kind="MatMul", nodes=184, flops=flops * 0.3, bytes=moved * 1.5),
        ),
        time_ms=time_ms,
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        roofline_ms=roofline_ms,
        share=roofline_ms / time_ms,
        costliest=tuple(_node(component, i, time_ms) for i in range(10)),
        note="one node has no shape: left out." if component == "vae_decoder" else None,
    )


def _node(component: str, i: int, time_ms: float) -> NodeCost:
    share = 0.16 * 0.8**i
    kind = "Conv" if i % 3 else "MultiHeadAttention"
    name = f"/{component}/up_blocks.{i % 4}/resnets.{i}/{kind.lower()}/{kind}"
    return NodeCost(name=name, kind=kind, time_ms=time_ms * share, share=share)


def _quality(number: int) -> Quality:
    single = Proportion(estimate=0.96 - 0.01 * number, low=0.94, high=0.974, n=500)
    pair = Proportion(estimate=0.512, low=0.468, high=0.556, n=500)
    pictures = tuple(_picture(i, number) for i in range(len(PROMPTS)))
    if number == 0:
        return Quality(
            reference="torch fp32, models/sd15",
            equal=True,
            ssim=1.0,
            ssim_min=1.0,
            accuracy={"single": single, "pair": pair},
            pictures=pictures,
        )
    return Quality(
        reference="torch fp32, models/sd15",
        psnr_db=53.27,
        psnr_db_min=48.91,
        ssim=0.99871,
        ssim_min=0.9954,
        accuracy={"single": single, "pair": pair},
        clip_score=31.42,
        clip_model="models/clip-vit-l",
        notes=("clip: two prompts were cut.",),
        pictures=pictures,
    )


def _picture(prompt: int, number: int) -> Picture:
    """A drawing of 64×64 pixels; that of another number than 0 differs a little."""
    image = Image.new("RGB", (64, 64), (236, 232, 220) if prompt else (28, 42, 74))
    draw = ImageDraw.Draw(image)
    if prompt:
        draw.ellipse((20, 6, 42, 28), fill=(200, 40, 40))
        draw.rectangle((20, 34, 42, 56), fill=(40, 70, 190))
    else:
        draw.rectangle((27, 16, 37, 58), fill=(238, 230, 214))
        draw.polygon([(32, 12), (2, 2), (2, 20)], fill=(250, 214, 120))
    values = np.asarray(image).astype(np.int16)
    waves = np.rint(number * 9 * np.sin(np.arange(64) / 5))[:, None, None].astype(np.int16)
    file = io.BytesIO()
    Image.fromarray((values + waves).clip(0, 255).astype(np.uint8)).save(file, format="PNG")
    return Picture(prompt=PROMPTS[prompt], seed=7 + prompt, png=file.getvalue())


def _ratio(stage: str, number: int) -> Ratio:
    estimate = 0.83 + 0.05 * (number % 5)
    verdict = "faster" if estimate < 0.95 else "no difference"
    return Ratio(
        stage=stage,
        subject="openvino-fp16",
        baseline="ort-fp32",
        estimate=estimate,
        low=estimate - 0.03,
        high=estimate + 0.05,
        confidence=0.95,
        pairs=15,
        verdict=verdict,
    )


def _machine() -> Machine:
    return Machine(
        system="Linux 6.1 x86_64",
        processor="AMD EPYC 7B13",
        cores=8,
        memory_bytes=34_359_738_368,
        devices=("NVIDIA T4, driver 580.65",),
        python="3.11.2",
        packages={"latedge": "0.1.0", "numpy": "2.4.6", "onnxruntime": "1.32.0"},
        power="mains",
        governor="performance",
    )


def _noise() -> Noise:
    return Noise(
        load_before=1.42,
        others_share=0.061,
        others_share_max=0.19,
        steal_share=0.002,
        reference=summarize([10.1, 10.2, 10.0, 10.4, 10.3, 10.9]),
        drift=0.031,
        frequency_drop=None,
        temperature_c=None,
        verdict="noisy",
        reasons=("other programs took 19 % of the processor's time in the worst round.",),
    )
