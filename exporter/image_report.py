"""The figures of a whole picture beside diffusers' own, and what is asked of them."""

from __future__ import annotations

import msgspec

from exporter.errors import VerificationError


class ImageReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far a whole picture is from diffusers'.

    Attributes:
        prompt: what was drawn.
        sampler: which both followed.
        steps: of the sampler.
        guidance_scale: of both.
        seed: of the noise.
        height: in pixels.
        width: in pixels.
        threshold_db: what picture and latents must reach.
        psnr_db: of the picture, peak 1; None where the two are equal.
        max_abs: largest difference of the picture's values, which lie in [0, 1].
        latents_psnr_db: of the latents after each step, against the reference's largest magnitude.
        latents_max_abs: largest difference of the latents after each step.
        departs_at: the first step, from 1, whose latents miss the threshold; None where none does.
        seconds_reference: what diffusers took, loading included.
        seconds_engine: what the runtime took, loading included.
        passed: whether the picture and the last latents reach the threshold.
    """

    prompt: str
    sampler: str
    steps: int
    guidance_scale: float
    seed: int
    height: int
    width: int
    threshold_db: float
    psnr_db: float | None
    max_abs: float
    latents_psnr_db: tuple[float | None, ...]
    latents_max_abs: tuple[float, ...]
    departs_at: int | None
    seconds_reference: float
    seconds_engine: float
    passed: bool


def require_same_picture(report: ImageReport) -> None:
    """Refuses a picture that misses its threshold.

    Raises:
        VerificationError: names the first step that departs and by how much.
    """
    if report.passed:
        return
    if report.departs_at is None:
        found = "the latents of every step agree, so the decoder or what it is fed departs"
    else:
        step = report.departs_at - 1
        figures = (
            f"{report.latents_psnr_db[step]:.1f} dB (max abs {report.latents_max_abs[step]:.3g})"
        )
        found = (
            f"the latents depart first at step {report.departs_at} of {report.steps}, where they "
            f"have {figures}"
        )
    reached = "an equal picture" if report.psnr_db is None else f"{report.psnr_db:.1f} dB"
    raise VerificationError(
        f"the whole picture departs from diffusers: {reached} where picture and latents are asked "
        f"for {report.threshold_db:g} dB (max abs {report.max_abs:.3g} of 1); {found}."
    )
