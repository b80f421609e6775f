"""Checks of what a caller gives: each returns the value as it is used, or raises a `UsageError`."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Sequence
from numbers import Real
from typing import TypeGuard, cast

import numpy as np

from runtimes.errors import UsageError, unknown_name
from runtimes.noise import SEED_MAX, SEED_MIN

MAX_STEPS = 1000
MAX_IMAGES = 1000
OUTPUT_TYPES = ("pil", "np", "latent")


def check_prompts(prompt: object) -> tuple[str, ...]:
    """A prompt, or a sequence of them, as a tuple.

    Raises:
        UsageError: not text, an empty sequence, or a text that is no Unicode.
    """
    return _check_texts("prompt", prompt)


def check_negative_prompts(negative: object, count: int) -> tuple[str, ...]:
    """The negative prompts of `count` prompts; one stands for all, None for the empty text.

    Raises:
        UsageError: not text, or not as many as there are prompts.
    """
    return check_texts_of("negative_prompt", "" if negative is None else negative, count)


def check_texts_of(name: str, given: object, count: int) -> tuple[str, ...]:
    """Texts that go with `count` prompts; one stands for all.

    Args:
        name: the argument.
        given: a text or several.
        count: how many prompts there are.

    Raises:
        UsageError: not text, or not as many as there are prompts.
    """
    texts = _check_texts(name, given)
    if isinstance(given, str):
        return texts * count
    if len(texts) != count:
        what = f"{name.replace('_', ' ')}s" if name == "negative_prompt" else f"of {name}"
        raise UsageError(f"there are {count} prompts, but {len(texts)} {what}.")
    return texts


def _check_texts(name: str, texts: object) -> tuple[str, ...]:
    if isinstance(texts, str):
        texts = (texts,)
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):
        raise UsageError(f"{name} must be text or a list of texts, not {type(texts).__name__}.")
    found = tuple(cast("Sequence[object]", texts))
    for text in found:
        if not isinstance(text, str):
            raise UsageError(f"{name} holds {text!r}, which is not text.")
        lone = re.search(r"[\ud800-\udfff]", text)
        if lone is not None:
            # It can't be tokenised, nor be written into a picture's file.
            raise UsageError(
                f"{name} has a lone surrogate, U+{ord(lone[0]):04X}, at character {lone.start()}, "
                "which is no character; remove it."
            )
    if not found:
        raise UsageError(f"{name} is an empty list; the empty text '' is allowed.")
    return cast("tuple[str, ...]", found)


def check_count(name: str, value: object, most: int, least: int = 1) -> int:
    """A whole number from `least` to `most`.

    Raises:
        UsageError: anything else.
    """
    if not is_whole(value) or not least <= (found := int(value)) <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
    return found


def check_guidance_scale(value: object) -> float:
    """A finite number of at least 1, or 0, by which users of distilled models turn guidance off.

    Raises:
        UsageError: anything else.
    """
    scale = check_number("guidance_scale", value)
    if scale < 1 and scale != 0:
        raise UsageError(
            f"guidance_scale must be 1 or more, not {scale:g}; 1 (or 0) turns guidance off."
        )
    return scale


def check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf
) -> float:
    """A finite number from `least` to `most`.

    Raises:
        UsageError: anything else.
    """
    refused = isinstance(value, bool) or not isinstance(value, Real)
    found = math.nan if refused else float(cast("float", value))
    if not math.isfinite(found) or not least <= found <= most:
        raise UsageError(f"{name} must be {_numbers(least, most)}, not {value!r}.")
    return found


def _numbers(least: float, most: float) -> str:
    if math.isfinite(most):
        return f"a number from {least:g} to {most:g}"
    return f"a finite number of at least {least:g}" if math.isfinite(least) else "a finite number"


def check_share(name: str, value: object) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: anything else.
    """
    return check_number(name, value, 0, 1)


def check_seed(value: object, name: str = "seed") -> int:
    """A seed; None draws one of 32 bits from the system.

    Raises:
        UsageError: not a whole number that `torch.Generator.manual_seed` takes.
    """
    if value is None:
        return secrets.randbits(32)
    if not is_whole(value) or not SEED_MIN <= (found := int(value)) <= SEED_MAX:
        raise UsageError(f"{name} must be a whole number from -2^63 to 2^64-1, not {value!r}.")
    return found


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an integer of Python or NumPy; True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_callback(callback: object) -> None:
    """Refuses what can't be called after a step.

    Raises:
        UsageError: neither a function nor None.
    """
    if callback is not None and not callable(callback):
        raise UsageError(f"callback must be a function, not {type(callback).__name__}.")


def check_output_type(name: str) -> str:
    """A name of `OUTPUT_TYPES`.

    Raises:
        UsageError: unknown; lists the known ones and the closest.
    """
    if name not in OUTPUT_TYPES:
        raise unknown_name("output_type", name, OUTPUT_TYPES)
    return name
