"""What `generate` uses where the caller says nothing: sizes, steps and guidance of a model.

A distilled model is known by its scheduler's config alone, and not always: what the config leaves
open stays the family's, or is given at the export.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.families.table import Family
from runtimes.checks import check_guidance_scale
from runtimes.errors import UsageError
from runtimes.manifest import Defaults

MAX_STEPS = 1000


@dataclass(frozen=True)
class Wanted:
    """Defaults that the caller of the export gives; None leaves them to the model.

    Attributes:
        num_inference_steps: steps of a picture.
        guidance_scale: how strongly prompts guide; 1 and below not at all.
    """

    num_inference_steps: int | None = None
    guidance_scale: float | None = None

    def check(self) -> None:
        """Refuses values that `generate` would.

        Raises:
            UsageError: says which.
        """
        steps = self.num_inference_steps
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            raise UsageError(f"num_inference_steps is {steps}; it must be 1 to {MAX_STEPS}.")
        if self.guidance_scale is not None:
            check_guidance_scale(self.guidance_scale)

    def given(self) -> dict[str, str]:
        """Those that were given, as provenance notes them."""
        values = {
            "num-inference-steps": self.num_inference_steps,
            "guidance-scale": self.guidance_scale,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class _Distilled:
    """A kind of model that draws in few steps.

    Attributes:
        known_by: tells it by its scheduler's config.
        num_inference_steps: its usual ones.
        guidance_scale: its usual one, where the U-Net isn't told of it.
    """

    known_by: Callable[[Config], bool]
    num_inference_steps: int
    guidance_scale: float


def _adversarial(scheduler: Config) -> bool:
    """A. Sauer et al., "Adversarial Diffusion Distillation", 2023: SDXL-Turbo and SD-Turbo."""
    return (
        scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
        and scheduler.get("timestep_spacing") == "trailing"
        and scheduler.get("prediction_type", "epsilon") == "epsilon"
        and not scheduler.get("rescale_betas_zero_snr", False)
    )


_DISTILLED = (
    _Distilled(_adversarial, num_inference_steps=1, guidance_scale=0.0),
    _Distilled(
        lambda scheduler: scheduler.get("_class_name") == "LCMScheduler",
        num_inference_steps=4,
        guidance_scale=1.0,
    ),
    _Distilled(
        lambda scheduler: scheduler.get("_class_name") == "TCDScheduler",
        num_inference_steps=4,
        guidance_scale=0.0,
    ),
)
_TOLD_SCALE = 8.5
"""Of a consistency model whose U-Net is told the scale: diffusers' own default."""


def defaults(
    family: Family, unet: Config, scheduler: Config, *, factor: int, sampler: str, wanted: Wanted
) -> Defaults:
    """The defaults of a model.

    Args:
        family: its family.
        unet: its U-Net's config.
        scheduler: its scheduler's config.
        factor: pixels per latent cell.
        sampler: draws pictures where none is named.
        wanted: what the caller of the export gave.

    Raises:
        SourceError: the U-Net's own size is neither a number nor a pair of such.
        UsageError: guidance is wanted of a model that takes no text.
    """
    if not family.tokenizers and (wanted.guidance_scale or 0) > 1:
        raise UsageError(
            f"guidance_scale is {wanted.guidance_scale:g}, and models of family {family.name} "
            "take no text: nothing guides them; leave it out."
        )
    height, width = _sample_size(unet)
    steps, scale = _usual(family, unet, scheduler)
    return Defaults(
        height=height * factor,
        width=width * factor,
        num_inference_steps=wanted.num_inference_steps or steps,
        guidance_scale=scale if wanted.guidance_scale is None else wanted.guidance_scale,
        sampler=sampler,
    )


def _usual(family: Family, unet: Config, scheduler: Config) -> tuple[int, float]:
    for kind in _DISTILLED:
        if kind.known_by(scheduler):
            told = unet.get("time_cond_proj_dim") is not None
            return kind.num_inference_steps, _TOLD_SCALE if told else kind.guidance_scale
    return family.num_inference_steps, family.guidance_scale


def _sample_size(unet: Config) -> tuple[int, int]:
    size = unet.get("sample_size") or 64
    both = cast("list[object]", [size, size] if not isinstance(size, list) else size)
    if len(both) != 2 or not all(type(each) is int and each > 0 for each in both):
        raise SourceError(
            f"unet/config.json: sample_size is {size!r}; it must be a whole number above 0, or two."
        )
    height, width = cast("list[int]", both)
    return height, width
