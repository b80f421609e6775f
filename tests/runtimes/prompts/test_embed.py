"""Prompts of a whole call, with networks that are formulas."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.embeddings_file import PromptEmbeddings
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.prompts import PromptTruncated
from runtimes.prompts.check import NegativePromptUnused
from tests.runtimes.fakes import FakeEngine, made

Write = Callable[..., Path]

# Every letter is a token of the fake bundle's vocabulary: 75 of them fill a chunk.
FULL = "a " * 75
LONG = FULL + "b " * 80


def contexts() -> Any:
    """What the U-Net saw as text embeddings in its first call."""
    return made("unet").calls[0]["encoder_hidden_states"]


def test_plain_prompts_are_what_they_were(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe("a (red:1.3) circle++", seed=0)
        tokenizer = pipe._parts.tokenizers["text_encoder"]  # pyright: ignore[reportPrivateUsage]
    (call,) = made("text_encoder").calls
    np.testing.assert_array_equal(call["ids"], tokenizer(["a (red:1.3) circle++", ""]).input_ids)


def test_long_prompts_lie_side_by_side_and_short_ones_are_filled_up(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(LONG, "x", seed=0, long_prompts="chunks")
        ids, context = made("text_encoder").calls[0]["ids"], contexts()
        pipe([FULL, "x", ""], seed=0, guidance_scale=1)
    # Three chunks, the negative prompt, and what fills it up.
    assert len(ids) == 5
    assert context.shape == (2, 3 * 77, 4)
    first, x, empty = made("unet").calls[4]["encoder_hidden_states"]
    np.testing.assert_array_equal(context[1, :77], first)
    np.testing.assert_array_equal(context[0], np.concatenate([x, empty, empty]))


@pytest.mark.parametrize(
    ("syntax", "prompt"), [("a1111", "a (red:1.3) circle"), ("compel", "a (red)1.3 circle")]
)
def test_weights_are_applied(fake_bundle: Write, syntax: Any, prompt: str) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe(prompt, seed=0, prompt_syntax=syntax)
        weighted = contexts()[1]
        plain = pipe("a red circle", seed=0)
    settings = result.settings
    assert (settings.prompt_syntax, settings.long_prompts) == (syntax, "chunks")
    assert np.abs(weighted - made("unet").calls[4]["encoder_hidden_states"][1]).max() > 0.1
    assert np.abs(result.latents - plain.latents).max() > 1e-3


def test_layers_are_left_out(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(layers=3)) as pipe:
        pipe("a", seed=0)
        last = contexts()
        result = pipe("a", seed=0, clip_skip=1)
    assert result.settings.clip_skip == 1
    # The fake's fourth output, normalised_states.2, is four times its first.
    skipped = made("unet").calls[4]["encoder_hidden_states"]
    np.testing.assert_array_equal(skipped[1], 4 * last[1])
    # Of the prompts alone: negative ones keep the last layer's, as in diffusers.
    np.testing.assert_array_equal(skipped[0], last[0])


# --- guidance


def test_perp_neg_takes_three_branches(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        plain = pipe("a red circle", "red", seed=0)
        found = pipe("a red circle", "red", seed=0, perp_neg=True, negative_weight=2)
        empty = pipe("", seed=0, guidance_scale=1)
    call = made("unet").calls[4]
    assert len(call["sample"]) == 3
    np.testing.assert_array_equal(
        call["encoder_hidden_states"][0], made("unet").calls[8]["encoder_hidden_states"][0]
    )
    assert np.abs(plain.latents - found.latents).max() > 1e-3
    assert empty.settings.perp_neg is False


@pytest.mark.parametrize(
    ("batch", "count", "sizes"),
    [
        ("batch", 1, [1, 2, 2, 1]),
        (1, 1, [1, 1, 1, 1, 1, 1]),
        (2, 2, [2, 2, 2, 2, 2, 2]),
        # Nothing is saved: the graph computes two samples, whatever it is given.
        (2, 1, [2, 2, 2, 2]),
    ],
)
def test_interval_saves_the_unconditional_half(
    fake_bundle: Write, batch: int | str, count: int, sizes: list[int]
) -> None:
    with Pipeline.open(fake_bundle(batch=batch)) as pipe:
        found = pipe("x", seed=0, guidance_interval=(0.25, 0.75), num_images_per_prompt=count)
        whole = pipe("x", seed=0, num_images_per_prompt=count)
    calls = made("unet").calls[: len(sizes)]
    assert [len(call["sample"]) for call in calls] == sizes
    assert len(found.timings.unet) == 4 + 2 * (batch == 1)
    assert np.abs(found.latents - whole.latents).max() > 1e-3


def test_unet_that_guides_itself_is_told_the_scale(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(told_scale=8)) as pipe:
        low, high = (pipe(["x", "y"], seed=0, guidance_scale=scale) for scale in (2, 8))
        with pytest.warns(NegativePromptUnused, match="this bundle's U-Net guides itself"):
            pipe("x", "blue", seed=0)
        embeddings = pipe.encode("x")
    first = made("unet").calls[0]
    assert first["timestep_cond"].shape == (2, 8)
    assert len(first["sample"]) == 2
    assert low.settings.guidance_embedded
    assert embeddings.negative_prompt_embeds is None
    assert np.abs(low.latents - high.latents).max() > 1e-3


def test_rescale_changes_the_picture(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        plain, found = (pipe("x", seed=0, guidance_rescale=share) for share in (0, 0.7))
    assert found.settings.guidance_rescale == 0.7
    assert np.abs(plain.latents - found.latents).max() > 1e-3


# --- embeddings given


@pytest.mark.parametrize("suffix", [None, ".npz", ".safetensors"])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_embeddings_make_the_picture_again_bit_by_bit(
    fake_bundle: Write, tmp_path: Path, suffix: str | None, batch: int | str
) -> None:
    options: dict[str, Any] = {"prompt_syntax": "a1111", "clip_skip": 1}
    prompts, negatives = ["a (red:1.3) circle", LONG], ["x", ""]
    with Pipeline.open(fake_bundle(batch=batch, layers=2)) as pipe:
        given: Any = pipe.encode(prompts, negatives, **options)
        if suffix is not None:
            given.save(tmp_path / f"x{suffix}")
            given = tmp_path / f"x{suffix}"
        expected = pipe(prompts, negatives, seed=0, num_images_per_prompt=2, **options)
        encoded = len(made("text_encoder").calls)
        found = pipe(prompt_embeds=given, seed=0, num_images_per_prompt=2)
    np.testing.assert_array_equal(found.latents, expected.latents)
    assert len(found.latents) == 4
    assert len(made("text_encoder").calls) == encoded
    assert found.settings.embeddings_sha256 is not None
    assert len(found.settings.embeddings_sha256) == 64


def test_prompt_beside_embeddings_of_the_other(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        expected = pipe("a", "b", seed=0)
        given = pipe.encode("a", "b")
        negative = pipe("a", negative_prompt_embeds=given.negative_prompt_embeds, seed=0)
        positive = pipe(negative_prompt="b", prompt_embeds=given.prompt_embeds, seed=0)
        alone = pipe(prompt_embeds=given.prompt_embeds, seed=0, guidance_scale=1)
    np.testing.assert_array_equal(negative.latents, expected.latents)
    np.testing.assert_array_equal(positive.latents, expected.latents)
    assert np.abs(alone.latents - expected.latents).max() > 1e-3


def test_settings_of_embeddings_are_no_settings_of_prompts(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        given = pipe.encode("a")
        settings = pipe(prompt_embeds=given, seed=0).settings
        other = Inputs(prompt_embeds=2 * given.prompt_embeds)
        for inputs in (Inputs(), other):
            with pytest.raises(UsageError, match="made with other prompt embeddings; give the sa"):
                pipe.run(settings, inputs)


EMBEDS = np.ones((1, 77, 4), np.float32)
ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "x", "prompt_embeds": EMBEDS}, "both prompt and prompt_embeds are given; give one"),
    (
        {"prompt": "x", "negative_prompt": "y", "negative_prompt_embeds": EMBEDS},
        "both negative_prompt and negative_prompt_embeds are given; give one of them.",
    ),
    (
        {"prompt_embeds": PromptEmbeddings(EMBEDS, EMBEDS), "negative_prompt_embeds": EMBEDS},
        "prompt_embeds come with negative_prompt_embeds, and negative_prompt_embeds are given too",
    ),
    (
        {"prompt_embeds": PromptEmbeddings(EMBEDS, EMBEDS), "prompt_syntax": "a1111"},
        "prompt_syntax 'a1111' says how prompts are read, and embeddings are given in place of all",
    ),
    (
        {"prompt_embeds": EMBEDS, "guidance_scale": 1, "long_prompts": "chunks"},
        "long_prompts 'chunks' says how prompts are read, and embeddings are given in place of all",
    ),
    ({"prompt_embeds": EMBEDS * np.nan}, "prompt_embeds hold NaN or infinite values."),
    ({"prompt_embeds": EMBEDS.astype(np.float64) * 1e300}, "prompt_embeds hold NaN or infinite"),
    ({"prompt_embeds": EMBEDS[0]}, "must have the shape [prompts, tokens, width], not [77, 4]."),
    ({"prompt_embeds": EMBEDS[:0]}, "the shape [prompts, tokens, width], not [0, 77, 4]."),
    ({"prompt_embeds": EMBEDS.astype(int)}, "prompt_embeds must be of a float type, not int64."),
    ({"prompt_embeds": EMBEDS.tolist()}, "prompt_embeds must be a NumPy array, not list."),
    ({"prompt_embeds": EMBEDS[:, :, :3]}, "prompt_embeds are 3 wide; this bundle's U-Net takes 4."),
    ({"prompt_embeds": EMBEDS[:, :5]}, "prompt_embeds have 5 tokens, no multiple of 77"),
    (
        {"prompt_embeds": PromptEmbeddings(EMBEDS, EMBEDS[:, :5])},
        "prompt_embeds and negative_prompt_embeds have shapes (1, 77, 4) and (1, 5, 4).",
    ),
    (
        {"prompt": ["a", "b"], "negative_prompt_embeds": EMBEDS},
        "there are 2 prompts, but negative_prompt_embeds of 1.",
    ),
    ({"prompt_embeds": "none.npz"}, "none.npz can't be read: No such file or directory."),
    ({"prompt": "x", "prompt_syntax": "a111"}, "unknown prompt_syntax 'a111'; known are a1111, co"),
    ({"prompt": "x", "long_prompts": "chunk"}, "unknown long_prompts 'chunk'; known are chunks, t"),
    (
        {"prompt": "(x:1.2.3)", "prompt_syntax": "a1111"},
        "prompt '(x:1.2.3)': the weight '1.2.3' is not a number; write (text:1.3).",
    ),
    (
        {"prompt": "x", "negative_prompt": "a.swap(b)", "prompt_syntax": "compel"},
        "prompt 'a.swap(b)': .swap() is not supported by prompt_syntax 'compel'; take it out.",
    ),
    (
        {"prompt": "x" * 10_000, "long_prompts": "chunks"},
        f"prompt '{'x' * 200}…' (10000 characters in all): it takes 134 chunks of 77 tokens; at mo",
    ),
    ({"prompt": "x", "guidance_rescale": 2}, "guidance_rescale must be from 0 (off) to 1, not 2."),
    ({"prompt": "x", "perp_neg": True}, "perp_neg needs a negative prompt to lead away from"),
    ({"prompt": None}, "prompt must be text or a list of texts, not NoneType."),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS)
def test_wrong_arguments_are_refused_before_any_work(
    fake_bundle: Write, arguments: dict[str, Any], message: str
) -> None:
    with Pipeline.open(fake_bundle(layers=2)) as pipe:
        with pytest.raises(UsageError) as raised:
            pipe(**arguments)
        assert [len(engine.calls) for engine in FakeEngine.made] == [0, 0, 0]
    assert message in str(raised.value)


def test_unets_of_fixed_length_take_no_longer_prompts(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(sequence=77)) as pipe:
        message = (
            "a prompt has 3 chunks, 231 tokens, but this bundle's U-Net was built for 77; "
            "shorten it, give long_prompts 'truncate', or compile the bundle without fixed sizes."
        )
        asked: list[dict[str, Any]] = [{"prompt_syntax": "a1111"}, {"long_prompts": "chunks"}]
        for options in asked:
            with pytest.raises(UsageError) as raised:
                pipe(LONG, **options)
            assert str(raised.value) == message
        with pytest.raises(UsageError, match="a prompt has 2 chunks"):
            pipe('("a", "b").and()', prompt_syntax="compel", long_prompts="truncate")
        with pytest.raises(UsageError, match=r"have 154 tokens; .* built for 77\."):
            pipe(prompt_embeds=np.ones((1, 154, 4), np.float32))
        assert [len(engine.calls) for engine in FakeEngine.made] == [0, 0, 0]
        pipe("(short:1.2)", prompt_syntax="a1111")
        with pytest.warns(PromptTruncated) as caught:
            pipe(LONG, prompt_syntax="a1111", long_prompts="truncate")
    assert caught[0].filename == __file__


def test_truncation_while_encoding_is_told_to_the_caller(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe, pytest.warns(PromptTruncated) as caught:
        pipe.encode(LONG)
    assert caught[0].filename == __file__


def test_bundles_without_earlier_layers_say_so(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe, pytest.raises(BundleError, match="clip_skip 1 need"):
        pipe("x", clip_skip=1)


@pytest.mark.parametrize("syntax", ["a1111", "compel"])
def test_foreign_and_empty_prompts_are_taken(fake_bundle: Write, syntax: Any) -> None:
    with Pipeline.open(fake_bundle()) as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(["", "🟥 über ■, (赤い丸)", "((("], "]", seed=0, prompt_syntax=syntax)
