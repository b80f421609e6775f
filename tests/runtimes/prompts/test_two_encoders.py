"""Prompts as SDXL reads them, by two text encoders or the second alone, over formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from runtimes.bundle import Bundle, open_bundle
from runtimes.embeddings_file import PromptEmbeddings
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs
from runtimes.manifest import (
    MANIFEST_NAME,
    Component,
    Graph,
    Port,
    encode_manifest,
    read_manifest,
)
from runtimes.pipeline import Pipeline
from runtimes.prompts.encoders import text_encoders
from runtimes.settle import settle
from tests.runtimes import fakes
from tests.runtimes.fakes import CONTEXT, LAYERS, made

Write = Callable[..., Path]

RNG = np.random.default_rng(0)
PHOTO = Image.new("RGB", (24, 32))
STATES = RNG.standard_normal((1, 77, 2 * CONTEXT), dtype=np.float32)
POOLED = RNG.standard_normal((1, CONTEXT), dtype=np.float32)

PENULTIMATE = {"text_encoder": LAYERS + 1, "text_encoder_2": LAYERS + 1}
"""Encoder → the fake's factor of the states of its layer but one: its outputs' place, from 1."""
PROJECTED = LAYERS + 3


def ids(pipe: Pipeline, text: str) -> Any:
    return pipe._parts.tokenizers["text_encoder_2"]([text]).input_ids  # pyright: ignore[reportPrivateUsage]


def states(pipe: Pipeline, first: str, second: str | None = None, skip: int = 0) -> Any:
    """What the U-Net is to see of a prompt: [77, 8]."""
    texts = {"text_encoder": first, "text_encoder_2": first if second is None else second}
    found = [
        fakes.embed(ids(pipe, text))[0] * np.float32(PENULTIMATE[name] - skip)
        for name, text in texts.items()
    ]
    return np.concatenate(found, axis=-1)


def pooled(pipe: Pipeline, text: str) -> Any:
    return fakes.embed(ids(pipe, text))[0].mean(axis=0) * np.float32(PROJECTED)


def seen() -> tuple[Any, Any]:
    """States and pooled embeddings in the U-Net's first call, the negative branch first."""
    call = made("unet").calls[0]
    return call["encoder_hidden_states"], call["text_embeds"]


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_penultimate_states_lie_side_by_side(fake_bundle: Write, skip: int) -> None:
    """clip_skip counts from there on, and bears on prompts alone."""
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        pipe("a cat", "dog", seed=0, clip_skip=skip)
        context, told = seen()
        np.testing.assert_allclose(context[1], states(pipe, "a cat", skip=skip), rtol=1e-6)
        np.testing.assert_allclose(context[0], states(pipe, "dog"), rtol=1e-6)
        np.testing.assert_allclose(told[1], pooled(pipe, "a cat"), rtol=1e-5)
        np.testing.assert_allclose(told[0], pooled(pipe, "dog"), rtol=1e-5)


def test_the_second_encoder_reads_its_own_texts(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        pipe("a", "b", prompt_2="c", negative_prompt_2="d", seed=0)
        context, told = seen()
        np.testing.assert_allclose(context[1], states(pipe, "a", "c"), rtol=1e-6)
        np.testing.assert_allclose(context[0], states(pipe, "b", "d"), rtol=1e-6)
        np.testing.assert_allclose(told[1], pooled(pipe, "c"), rtol=1e-5)
        np.testing.assert_allclose(told[0], pooled(pipe, "d"), rtol=1e-5)
        # Each distinct text is read once, all of them in one call.
        for name in ("text_encoder", "text_encoder_2"):
            assert [len(call["ids"]) for call in made(name).calls] == [2]


@pytest.mark.parametrize("said", [{"negative_prompt": ""}, {"negative_prompt_2": ""}])
def test_zeros_stand_where_nothing_is_said_and_not_for_the_empty_text(
    fake_bundle: Write, said: dict[str, Any]
) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        nothing = pipe("x", seed=0)
        context, told = seen()
        assert not context[0].any()
        assert not told[0].any()
        assert context[1].any()
        assert nothing.settings.zero_negative
        made("unet").calls.clear()
        empty = pipe("x", seed=0, **said)
        context, told = seen()
        np.testing.assert_allclose(context[0], states(pipe, ""), rtol=1e-6)
        np.testing.assert_allclose(told[0], pooled(pipe, ""), rtol=1e-5)
        assert not empty.settings.zero_negative


def test_refiner_reads_by_the_second_alone_and_has_no_zeros(fake_bundle: Write) -> None:
    bundle = fake_bundle(sdxl="refiner", tasks=("image-to-image",), unet_channels=4)
    with Pipeline.open(bundle) as pipe:
        pipe("a cat", image=PHOTO, strength=1.0, seed=0)
        context, told = seen()
        assert context.shape == (2, 77, CONTEXT)
        np.testing.assert_allclose(context[1], states(pipe, "a cat")[:, CONTEXT:], rtol=1e-6)
        np.testing.assert_allclose(context[0], states(pipe, "")[:, CONTEXT:], rtol=1e-6)
        np.testing.assert_allclose(told[0], pooled(pipe, ""), rtol=1e-5)


def test_a_prompt_longer_for_one_encoder_is_filled_up_for_the_other(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        pipe("a " * 100, prompt_2="b", long_prompts="chunks", seed=0)
        context, _ = seen()
        assert context.shape == (2, 154, 2 * CONTEXT)
        np.testing.assert_allclose(context[1][77:, CONTEXT:], states(pipe, "")[:, CONTEXT:])


# --- embeddings that are given


@pytest.mark.parametrize("negative", [None, "", "dog"])
def test_encoded_prompts_make_the_picture_again(
    fake_bundle: Write, tmp_path: Path, negative: str | None
) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        expected = pipe("a cat", negative, prompt_2="c", seed=0)
        encoded = pipe.encode("a cat", negative, prompt_2="c")
        encoded.save(tmp_path / "x.npz")
        for given in (encoded, tmp_path / "x.npz"):
            found = pipe(prompt_embeds=given, seed=0)
            np.testing.assert_array_equal(found.latents, expected.latents)


def test_embeddings_of_prompts_alone_leave_zeros(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        pipe(prompt_embeds=STATES, pooled_prompt_embeds=POOLED, seed=0)
        context, told = seen()
        np.testing.assert_array_equal(context, [np.zeros_like(STATES[0]), STATES[0]])
        np.testing.assert_array_equal(told, [np.zeros_like(POOLED[0]), POOLED[0]])
        assert "text_encoder" not in {
            each.component for each in fakes.FakeEngine.made if each.calls
        }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt_embeds": STATES}, "pooled_prompt_embeds"),
        ({"pooled_prompt_embeds": POOLED}, "prompt_embeds"),
        (
            {"prompt_embeds": STATES, "pooled_prompt_embeds": POOLED[:, :3]},
            "pooled_prompt_embeds have shape (1, 3); the U-Net takes (1, 4).",
        ),
        (
            {"prompt_embeds": STATES, "pooled_prompt_embeds": np.repeat(POOLED, 2, axis=0)},
            "pooled_prompt_embeds have shape (2, 4); the U-Net takes (1, 4).",
        ),
        (
            {"prompt_embeds": STATES, "pooled_prompt_embeds": POOLED * np.nan},
            "pooled_prompt_embeds hold NaN or infinite values.",
        ),
        (
            {"prompt_embeds": STATES, "pooled_prompt_embeds": POOLED.astype(int)},
            "pooled_prompt_embeds must be a NumPy array of a float type.",
        ),
        (
            {"prompt_embeds": STATES[..., :CONTEXT], "pooled_prompt_embeds": POOLED},
            "prompt_embeds are 4 wide; this bundle's U-Net takes 8.",
        ),
        (
            {
                "prompt_embeds": STATES,
                "pooled_prompt_embeds": POOLED,
                "negative_prompt_embeds": STATES,
            },
            "negative_pooled_prompt_embeds",
        ),
    ],
)
def test_pooled_embeddings_belong_to_those_of_tokens(
    fake_bundle: Write, given: dict[str, Any], message: str
) -> None:
    prompt = None if "prompt_embeds" in given else "x"
    with pytest.raises(UsageError) as e:
        settle(open_bundle(fake_bundle(sdxl="base")), prompt, inputs=Inputs(**given))
    assert message in str(e.value)


def test_a_model_with_one_encoder_takes_no_pooled_ones_and_no_second_texts(
    fake_bundle: Write,
) -> None:
    bundle = open_bundle(fake_bundle())
    embeddings = PromptEmbeddings(STATES[..., :CONTEXT], pooled_prompt_embeds=POOLED)
    inputs = Inputs(
        prompt_embeds=embeddings.prompt_embeds, pooled_prompt_embeds=embeddings.pooled_prompt_embeds
    )
    with pytest.raises(UsageError, match="pooled_prompt_embeds are given; this bundle's U-Net tak"):
        settle(bundle, inputs=inputs)
    with pytest.raises(UsageError, match="prompt_2 is given, and this bundle has one text encoder"):
        settle(bundle, "x", prompt_2="y")


# --- text encoders that give what the U-Net takes and no more


def of_core_ml(folder: Path) -> Path:
    """A bundle whose text encoders give the penultimate states and the pooled embedding alone."""
    manifest = read_manifest(folder)
    parts = dict(manifest.components)
    for name in manifest.tokenizers:
        graph = parts[name].graphs["model"]
        kept = (f"hidden_states.{LAYERS - 1}", "text_embeds")
        outputs = tuple(port for port in graph.outputs if port.role in kept)
        if name == "text_encoder":
            pooled = Port(
                role="pooler_output", name="pooled", dtype="float32", shape=("batch", CONTEXT)
            )
            outputs = (*outputs, pooled)
        graph = msgspec.structs.replace(graph, outputs=outputs)
        parts[name] = Component(graphs={"model": graph})
    changed = msgspec.structs.replace(manifest, components=parts)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return folder


@pytest.mark.parametrize("refiner", [False, True])
def test_the_penultimate_states_may_be_all_that_there_is(fake_bundle: Write, refiner: bool) -> None:
    kind = {"sdxl": "refiner", "tasks": ("image-to-image",), "unet_channels": 4}
    bundle = of_core_ml(fake_bundle(**(kind if refiner else {"sdxl": "base"})))
    said: Any = {"image": PHOTO, "strength": 1.0} if refiner else {}
    with Pipeline.open(bundle) as pipe:
        pipe("a cat", "dog", seed=0, **said)
        context, told = seen()
        # Each output is its own multiple of the fake's formula, the states the first of them here.
        read = fakes.embed(ids(pipe, "a cat"))[0]
        expected = read if refiner else np.concatenate([read, read], axis=-1)
        np.testing.assert_allclose(context[1], expected, rtol=1e-6)
        np.testing.assert_allclose(told[1], 2 * read.mean(axis=0), rtol=1e-5)


def test_a_package_of_one_layers_states_skips_none(fake_bundle: Write) -> None:
    for folder in (of_core_ml(fake_bundle(sdxl="base")), fake_bundle()):
        bundle = open_bundle(folder)
        parts = {
            name: Component(
                graphs={"model": msgspec.structs.replace(part.graphs["model"], engine="coreml")}
            )
            for name, part in bundle.manifest.components.items()
        }
        bundle = Bundle(folder, msgspec.structs.replace(bundle.manifest, components=parts))
        assert settle(bundle, "x", clip_skip=0).clip_skip == 0
        with pytest.raises(UsageError) as e:
            settle(bundle, "x", clip_skip=1)
        assert str(e.value) == (
            "clip_skip 1 needs the states of earlier layers, and the text encoders of Core ML's "
            "packages give those of one; leave it out, or take a bundle of another engine."
        )


# --- bundles whose parts don't belong together


def changed(bundle: Bundle, component: str, **ports: tuple[int | str, ...]) -> Bundle:
    """A bundle of which ports of a component have other shapes, by their roles."""
    graph = bundle.graph(component)
    both = {
        side: tuple(
            msgspec.structs.replace(port, shape=ports.get(port.role, port.shape))
            for port in getattr(graph, side)
        )
        for side in ("inputs", "outputs")
    }
    graphs: dict[str, Graph] = {"model": msgspec.structs.replace(graph, **both)}
    parts = bundle.manifest.components
    component_now = msgspec.structs.replace(parts[component], graphs=graphs)
    components = {**parts, component: component_now}
    return Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, components=components))


def test_encoders_that_dont_fit_the_network_are_refused(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle(sdxl="base"))
    assert [each.name for each in text_encoders(bundle)] == ["text_encoder", "text_encoder_2"]
    wide = changed(bundle, "unet", encoder_hidden_states=("batch", "sequence", 12))
    with pytest.raises(
        BundleError, match=r"takes text embeddings 12 wide, .* give 4 and 4; they be"
    ):
        settle(wide, "x")
    narrow = changed(bundle, "text_encoder", last_hidden_state=("batch", 77, 6))
    with pytest.raises(
        BundleError, match=r"takes text embeddings 8 wide, .* give 6 and 4; they be"
    ):
        settle(narrow, "x")


def test_a_network_told_a_pooled_embedding_takes_an_encoder_that_gives_it(
    fake_bundle: Write,
) -> None:
    bundle = open_bundle(fake_bundle(sdxl="base"))
    tokenizers = {"text_encoder": "tokenizer"}
    manifest = msgspec.structs.replace(bundle.manifest, tokenizers=tokenizers)
    with pytest.raises(BundleError, match="takes text_embeds of one text encoder, and none gives"):
        text_encoders(Bundle(bundle.path, manifest))
    with pytest.raises(BundleError, match="has no tokenizer for its text_encoder_2"):
        settle(Bundle(bundle.path, manifest), "x")


# --- records


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"negative_prompt": ""},
        {"negative_prompt": "dog", "negative_prompt_2": "wolf", "prompt_2": "c"},
        {"original_size": (64, 48), "negative_target_size": (8, 8), "denoising_end": 0.5},
    ],
    ids=["nothing", "empty", "texts", "sizes"],
)
def test_a_picture_is_made_again_from_its_record(
    fake_bundle: Write, tmp_path: Path, said: dict[str, Any]
) -> None:
    with Pipeline.open(fake_bundle(sdxl="base")) as pipe:
        first = pipe("a cat", seed=3, **said)
        (path,) = first.save(tmp_path / "x.png")
        again = pipe.repeat(path)
        assert again.settings == first.settings
        np.testing.assert_array_equal(again.latents, first.latents)
        # Another prompt leaves what was said of the negative one as it was.
        other = pipe.repeat(path, prompt="a dog")
        assert other.settings.zero_negative == first.settings.zero_negative
        assert other.settings.negative_prompt == first.settings.negative_prompt
