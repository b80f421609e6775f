"""What SDXL's pipelines keep in model_index.json beside their networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.components.base import Config
from exporter.errors import SourceError
from exporter.source import Source
from runtimes.manifest import Conditioning, Port

TEXT_TIME = "text_time"
"""`addition_embed_type` of SDXL's U-Nets."""

_DEFAULTS: Mapping[str, bool] = {
    "force_zeros_for_empty_prompt": True,
    "requires_aesthetics_score": False,
    "is_cosxl_edit": False,
}
"""Setting → diffusers' own default, the same in all of its pipelines for SDXL."""

_NUMBERS = {False: 6, True: 5}
"""Whether there is an aesthetic score → how many numbers about a picture there are."""


def conditioning(source: Source) -> Conditioning | None:
    """How a model is told of text and picture; None where its U-Net isn't SDXL's.

    Raises:
        SourceError: a setting is neither true nor false.
    """
    if source.config("unet").get("addition_embed_type") != TEXT_TIME:
        return None
    return Conditioning(**{name: _setting(source, name) for name in _DEFAULTS})


def settings(source: Source) -> Config:
    """Those settings as model_index.json has them; nothing for other models.

    Raises:
        SourceError: as `conditioning`.
    """
    found = conditioning(source)
    if found is None:
        return {}
    # The last is known to one pipeline alone, and the others warn of it.
    names = [name for name in _DEFAULTS if name != "is_cosxl_edit" or found.is_cosxl_edit]
    return {name: getattr(found, name) for name in names}


def check_conditioning(source: Source, inputs: Sequence[Port]) -> None:
    """Refuses a U-Net that takes other numbers about a picture than its pipeline gives it.

    Args:
        source: the model.
        inputs: its U-Net's.

    Raises:
        SourceError: they disagree, or a setting is neither true nor false.
    """
    found = conditioning(source)
    numbers = next((port.shape[-1] for port in inputs if port.role == "time_ids"), None)
    if found is None or _NUMBERS[found.requires_aesthetics_score] == numbers:
        return
    said = str(found.requires_aesthetics_score).lower()
    raise SourceError(
        f"{source.location}: model_index.json says requires_aesthetics_score={said}, with which a "
        f"U-Net takes {_NUMBERS[found.requires_aesthetics_score]} numbers about a picture, and "
        f"this one takes {numbers}; SDXL's base takes 6 and its refiner, with the score, 5."
    )


def _setting(source: Source, name: str) -> bool:
    value = source.setting(name)
    if value is None:
        return _DEFAULTS[name]
    if not isinstance(value, bool):
        raise SourceError(
            f"{source.location}: model_index.json says {name}={value!r}; it must be true or false."
        )
    return value
