"""Text embeddings that a caller gives in place of prompts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.checks import check_negative_prompts, check_prompts
from runtimes.embeddings_file import PromptEmbeddings
from runtimes.errors import UsageError
from runtimes.inputs import Floats, Inputs
from runtimes.manifest import Graph
from runtimes.options import Given
from runtimes.prompts.encoders import CONTEXT, PROJECTED

_PAIRS = {
    "prompt_embeds": "pooled_prompt_embeds",
    "negative_prompt_embeds": "negative_pooled_prompt_embeds",
}
"""Embeddings of tokens → the pooled ones beside them."""
EMBEDDINGS = tuple(name for pair in _PAIRS.items() for name in pair)
"""Fields of `Inputs` that hold embeddings."""


def with_embeddings(
    inputs: Inputs,
    prompt_embeds: PromptEmbeddings | Floats | Path | str | None,
    negative_prompt_embeds: Floats | None = None,
    pooled_prompt_embeds: Floats | None = None,
    negative_pooled_prompt_embeds: Floats | None = None,
) -> Inputs:
    """Inputs with the embeddings that a call was given, which may lie in a file.

    Raises:
        UsageError: the file can't be read or is none of embeddings, or others are given both in the
            file and beside it.
    """
    beside = {
        "negative_prompt_embeds": negative_prompt_embeds,
        "pooled_prompt_embeds": pooled_prompt_embeds,
        "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
    }
    if isinstance(prompt_embeds, Path | str):
        prompt_embeds = PromptEmbeddings.load(prompt_embeds)
    if isinstance(prompt_embeds, PromptEmbeddings):
        for name, given in beside.items():
            own = getattr(prompt_embeds, name)
            if own is not None and given is not None:
                raise UsageError(
                    f"prompt_embeds come with {name}, and {name} are given too; give one of them."
                )
            beside[name] = given if own is None else own
        prompt_embeds = prompt_embeds.prompt_embeds
    return replace(inputs, prompt_embeds=prompt_embeds, **beside)


def given_inputs(given: Given) -> Inputs:
    """The inputs of a call's pictures and arrays.

    Raises:
        UsageError: as of `with_embeddings`.
    """
    arrays: dict[str, Any] = {**given}
    embeddings = [arrays.pop(name, None) for name in EMBEDDINGS]
    states, pooled, negative, negative_pooled = embeddings
    return with_embeddings(Inputs(**arrays), states, negative, pooled, negative_pooled)


def check_texts(
    prompt: object, negative_prompt: object, inputs: Inputs
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The prompts and negative prompts of a call; empty ones where embeddings are given.

    Raises:
        UsageError: a text is none, there are too many or too few, or both a text and embeddings.
    """
    embeds, negatives = inputs.prompt_embeds, inputs.negative_prompt_embeds
    if embeds is None:
        prompts = check_prompts(prompt)
    else:
        _check_alone("prompt", prompt)
        prompts = ("",) * _count("prompt_embeds", embeds)
    if negatives is None:
        return prompts, check_negative_prompts(negative_prompt, len(prompts))
    _check_alone("negative_prompt", negative_prompt)
    if _count("negative_prompt_embeds", negatives) != len(prompts):
        raise UsageError(
            f"there are {len(prompts)} prompts, but negative_prompt_embeds of {len(negatives)}."
        )
    return prompts, ("",) * len(prompts)


def check_pooled(bundle: Bundle, inputs: Inputs) -> None:
    """Refuses embeddings without the pooled ones that the U-Net takes, and pooled ones alone.

    Raises:
        UsageError: says which are missing, too many, of another shape or not finite.
    """
    wanted = pooled_width(bundle)
    for name, pooled_name in _PAIRS.items():
        states, pooled = getattr(inputs, name), getattr(inputs, pooled_name)
        if pooled is not None and wanted is None:
            raise UsageError(f"{pooled_name} are given; this bundle's U-Net takes none.")
        if (states is None) != (pooled is None) and wanted is not None:
            has, lacks = (name, pooled_name) if pooled is None else (pooled_name, name)
            raise UsageError(f"{has} are given without {lacks}; this bundle's U-Net takes both.")
        if pooled is not None:
            _check_pooled_array(pooled_name, pooled, (len(states), wanted))


def pooled_width(bundle: Bundle) -> int | None:
    """How wide the pooled embeddings are that a U-Net takes from a caller; None for none."""
    for port in bundle.graph("unet").inputs:
        if port.role == PROJECTED and port.shape and isinstance(port.shape[-1], int):
            return port.shape[-1]
    return None


def _check_pooled_array(name: str, array: object, shape: tuple[int, int | None]) -> None:
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise UsageError(f"{name} must be a NumPy array of a float type.")
    given: NDArray[np.floating[Any]] = array  # pyright: ignore[reportUnknownVariableType]
    if given.shape != shape:
        raise UsageError(f"{name} have shape {given.shape}; the U-Net takes {shape}.")
    if not np.isfinite(as_float32(given)).all():
        raise UsageError(f"{name} hold NaN or infinite values.")


def check_embeddings(bundle: Bundle, inputs: Inputs, *, chunk: int, alone: bool) -> None:
    """Refuses embeddings that the U-Net can't take.

    Args:
        bundle: whose U-Net.
        inputs: with the embeddings, those that were given being arrays of three axes.
        chunk: tokens of one call of the text encoder, 77.
        alone: whether no texts are encoded beside them.

    Raises:
        UsageError: not finite, of another width or length.
    """
    given = {
        "prompt_embeds": inputs.prompt_embeds,
        "negative_prompt_embeds": inputs.negative_prompt_embeds,
    }
    arrays = {name: array for name, array in given.items() if array is not None}
    built, width = _built(bundle.graph("unet"))
    for name, array in arrays.items():
        tokens, found = array.shape[1:]
        if width is not None and found != width:
            raise UsageError(f"{name} are {found} wide; this bundle's U-Net takes {width}.")
        if built is not None and tokens != built:
            raise UsageError(f"{name} have {tokens} tokens; this bundle was built for {built}.")
        if not np.isfinite(as_float32(array)).all():
            raise UsageError(f"{name} hold NaN or infinite values.")
        if not alone and (tokens == 0 or tokens % chunk):
            raise UsageError(
                f"{name} have {tokens} tokens, no multiple of {chunk}, so that texts beside them "
                "can't be made as long; give prompt_embeds and negative_prompt_embeds."
            )
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise UsageError(f"prompt_embeds and negative_prompt_embeds have shapes {shapes}.")


def check_length(bundle: Bundle, chunks: int, chunk: int) -> None:
    """Refuses more chunks than the U-Net was built for.

    Raises:
        UsageError: says what to do.
    """
    built, _ = _built(bundle.graph("unet"))
    if built is not None and chunks * chunk != built:
        raise UsageError(
            f"a prompt has {chunks} chunks, {chunks * chunk} tokens, but this bundle's U-Net was "
            f"built for {built}; shorten it, give long_prompts 'truncate', or compile the bundle "
            "without fixed sizes."
        )


def as_float32(array: Floats) -> NDArray[np.float32]:
    """In the precision in which embeddings are used; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def embeddings_sha256(inputs: Inputs) -> str | None:
    """Over the embeddings that were given, as float32; None where there are none."""
    given = (inputs.prompt_embeds, inputs.negative_prompt_embeds)
    pooled = (inputs.pooled_prompt_embeds, inputs.negative_pooled_prompt_embeds)
    if any(array is not None for array in pooled):
        given = (*given, *pooled)
    if all(array is None for array in given):
        return None
    digest = hashlib.sha256()
    for array in given:
        digest.update(b"-" if array is None else repr(array.shape).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(as_float32(array), "<f4").tobytes())
    return digest.hexdigest()


def _built(unet: Graph) -> tuple[int | None, int | None]:
    """Tokens and width of text embeddings that a U-Net was built for; None where it takes any."""
    for port in unet.inputs:
        if port.role == CONTEXT and len(port.shape) == 3:
            tokens, width = port.shape[1:]
            return tokens if isinstance(tokens, int) else None, (
                width if isinstance(width, int) else None
            )
    return None, None


def _check_alone(name: str, text: object) -> None:
    if text is not None and text != "":
        raise UsageError(f"both {name} and {name}_embeds are given; give one of them.")


def _count(name: str, array: object) -> int:
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{name} must be a NumPy array, not {type(array).__name__}.")
    given: NDArray[np.generic] = array  # pyright: ignore[reportUnknownVariableType]
    if not np.issubdtype(given.dtype, np.floating):
        raise UsageError(f"{name} must be of a float type, not {given.dtype}.")
    if given.ndim != 3 or not len(given):
        raise UsageError(
            f"{name} must have the shape [prompts, tokens, width], not {list(given.shape)}."
        )
    return len(given)
