"""A base of SDXL and its refiner in one bundle: what is taken from each, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from exporter.compile import compile
from exporter.defaults import Wanted
from exporter.errors import SourceError
from exporter.export import export
from exporter.refiner import COMPONENT, SCHEDULER, prepare_both, refiner_entry, refiner_texts
from exporter.source import SourceOptions, open_source
from exporter.verify import verify
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError, UsageError
from runtimes.manifest import Conditioning, Refiner
from runtimes.settle import settle
from tests.exporter.test_sdxl_sources import edit, linked

Named = Callable[[str], Path]


def test_the_refiners_unet_stands_behind_the_bases(synthesized: Named) -> None:
    told: list[str] = []
    base = open_source(synthesized("tiny-sdxl"))
    other = open_source(synthesized("tiny-sdxl-refiner"))
    both = prepare_both(base, None, other, told.append)
    assert list(both.prepared) == [
        "text_encoder",
        "text_encoder_2",
        "unet",
        "unet_refiner",
        "vae_decoder",
        "vae_encoder",
    ]
    assert both.prepared[COMPONENT].component.name == "unet"
    assert both.prepared[COMPONENT].config["cross_attention_dim"] == 48
    assert told == []
    assert list(refiner_texts(other)) == [SCHEDULER]
    assert refiner_entry(other) == Refiner(
        component=COMPONENT,
        prediction_type="epsilon",
        scheduler=SCHEDULER,
        conditioning=Conditioning(
            force_zeros_for_empty_prompt=False, requires_aesthetics_score=True
        ),
    )
    alone = prepare_both(base, ("unet",), other, told.append)
    assert (list(alone.prepared), alone.refiner) == (["unet"], None)


def test_other_weights_of_the_refiner_are_told(synthesized: Named, tmp_path: Path) -> None:
    copy = linked(synthesized("tiny-sdxl-refiner"), tmp_path / "model")
    path = copy / "text_encoder_2" / "model.safetensors"
    weights = load_file(path)
    weights["text_projection.weight"] = weights["text_projection.weight"] + np.float16(1)
    path.unlink()
    save_file(weights, path)
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    told: list[str] = []
    prepare_both(open_source(synthesized("tiny-sdxl")), None, open_source(copy), told.append)
    assert told[0] == (
        "WARNING: the refiner's own text_encoder_2 has other weights than the base's "
        "(text_projection.weight is the first); the base's is used"
    )
    assert told[1].startswith("refiner: its own vae is not compared with the base's, which is used")
    assert len(told) == 2


def test_the_same_weights_in_other_dtypes_are_the_same(synthesized: Named, tmp_path: Path) -> None:
    copy = linked(synthesized("tiny-sdxl-refiner"), tmp_path / "model")
    path = copy / "text_encoder_2" / "model.safetensors"
    weights = {key: values.astype(np.float32) for key, values in load_file(path).items()}
    path.unlink()
    save_file(weights, path)
    told: list[str] = []
    prepare_both(open_source(synthesized("tiny-sdxl")), None, open_source(copy), told.append)
    assert told == []


@pytest.mark.parametrize(
    ("base", "refiner", "file", "fields", "message"),
    [
        ("tiny-sdxl", "tiny-sdxl", "", {}, "is no refiner but of family sdxl"),
        ("tiny-sdxl-refiner", "tiny-sdxl-refiner", "", {}, "is of family sdxl-refiner"),
        ("tiny-sd15", "tiny-sdxl-refiner", "", {}, "tiny-sd15 is of family sd1"),
        (
            "tiny-sdxl",
            "tiny-sdxl-refiner",
            "vae",
            {"scaling_factor": 0.18215},
            "its vae has scaling_factor 0.18215 where the base's has 0.13025; in one bundle",
        ),
        (
            "tiny-sdxl",
            "tiny-sdxl-refiner",
            "text_encoder_2",
            {"hidden_act": "quick_gelu"},
            "its text_encoder_2 has hidden_act 'quick_gelu' where the base's has 'gelu'",
        ),
    ],
)
def test_models_that_do_not_go_together_are_refused(
    synthesized: Named,
    tmp_path: Path,
    base: str,
    refiner: str,
    file: str,
    fields: dict[str, object],
    message: str,
) -> None:
    copy = linked(synthesized(refiner), tmp_path / "model")
    if file:
        edit(copy / file / "config.json", **fields)
    with pytest.raises(LatedgeError, match=message) as caught:
        prepare_both(open_source(synthesized(base)), None, open_source(copy), print)
    assert "\n" not in str(caught.value)


def test_the_refiners_component_needs_a_refiner(synthesized: Named) -> None:
    with pytest.raises(UsageError, match="unet_refiner is of a second model; give that with --ref"):
        prepare_both(open_source(synthesized("tiny-sdxl")), (COMPONENT,), None, print)


def test_a_refiner_that_is_missing_is_one_line(synthesized: Named, tmp_path: Path) -> None:
    options = SourceOptions(refiner=tmp_path / "nothing")
    with pytest.raises(SourceError, match=r"no model at .*nothing: no such file"):
        export(synthesized("tiny-sdxl"), tmp_path / "b", source_options=options)


@pytest.mark.slow
def test_one_bundle_holds_both_and_agrees_with_torch(synthesized: Named, tmp_path: Path) -> None:
    options = SourceOptions(refiner=synthesized("tiny-sdxl-refiner"))
    made = tmp_path / "both"
    wanted = Wanted(num_inference_steps=3, guidance_scale=2.0)
    manifest = export(synthesized("tiny-sdxl"), made, source_options=options, wanted=wanted)
    defaults = manifest.defaults
    assert (defaults.height, defaults.num_inference_steps, defaults.guidance_scale) == (128, 3, 2)
    given = {"refiner": synthesized("tiny-sdxl-refiner").name, "guidance-scale": "2.0"}
    assert given.items() <= manifest.provenance.options["export"].items()
    assert manifest.refiner == refiner_entry(open_source(synthesized("tiny-sdxl-refiner")))
    recipe = manifest.components[COMPONENT].recipe
    assert recipe is not None
    assert recipe.component == "unet"
    assert SCHEDULER in manifest.files
    index = json.loads((made / "model_index.json").read_text())
    assert COMPONENT not in index
    # What draws a bundle while it is verified settles its call before it is compiled.
    assert settle(open_bundle(made), "x").refiner_start == 0.8
    compiled = tmp_path / "ort"
    of_ort = compile(made, compiled, target="onnxruntime", batch=2)
    shape = of_ort.components[COMPONENT].graphs["model"].inputs[0].shape
    assert shape[0] == 2
    assert open_bundle(compiled).manifest.refiner == manifest.refiner
    report = verify(compiled, against=synthesized("tiny-sdxl"), source_options=options)
    assert all(found.passed for found in report.components.values())
    assert COMPONENT in report.components
    with pytest.raises(UsageError, match="give that with --refiner"):
        verify(compiled, against=synthesized("tiny-sdxl"))
