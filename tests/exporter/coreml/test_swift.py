"""Apple's Swift package: packages as it takes them pass, each departure is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.coreml.package import Description, save
from exporter.coreml.swift import RESOURCES, check_packages, package_names
from exporter.errors import CompileError
from tests.exporter.coreml.mil_programs import Shapes, passing, program_of

TEXT = ({"input_ids": (1, 77)}, {"last_hidden_state": (1, 77, 8), "pooled_outputs": (1, 8)})
TEXT_XL = ({"input_ids": (1, 77)}, {"hidden_embeds": (1, 77, 8), "pooled_outputs": (1, 6)})
UNET: Mapping[str, tuple[int, ...]] = {
    "sample": (2, 4, 8, 12),
    "timestep": (2,),
    "encoder_hidden_states": (2, 8, 1, 77),
}
XL = {**UNET, "text_embeds": (2, 6), "time_ids": (2, 6)}
NOISE: Mapping[str, tuple[int, ...]] = {"noise_pred": (2, 4, 8, 12)}
DECODER = ({"z": (1, 4, 8, 12)}, {"image": (1, 3, 64, 96)})
ENCODER = ({"x": (1, 3, 64, 96)}, {"latent": (1, 8, 8, 12)})


def check(
    folder: Path,
    component: str,
    *parts: tuple[Shapes, Shapes],
    is_xl: bool = False,
    dtype: str = "fp16",
) -> None:
    """Writes packages of given inputs and outputs, and checks them."""
    names = package_names(component, chunked=len(parts) > 1)
    for name, (inputs, outputs) in zip(names, parts, strict=True):
        program, target = program_of({"main": passing(inputs, outputs, dtype)}, "iOS16")
        save(program, folder / name, target=target, description=Description())
    check_packages(component, [folder / name for name in names], is_xl=is_xl)


@pytest.mark.parametrize(
    ("component", "shapes", "is_xl"),
    [
        ("text_encoder", TEXT, False),
        ("text_encoder", TEXT_XL, True),
        ("text_encoder_2", TEXT_XL, True),
        ("unet", (UNET, NOISE), False),
        ("unet", (XL, NOISE), True),
        ("unet_refiner", ({**XL, "time_ids": (2, 5)}, NOISE), True),
        ("vae_decoder", DECODER, False),
        ("vae_encoder", ENCODER, True),
    ],
)
def test_what_swift_takes_passes(
    tmp_path: Path, component: str, shapes: tuple[Shapes, Shapes], is_xl: bool
) -> None:
    check(tmp_path, component, shapes, is_xl=is_xl)


def one_each(shapes: Shapes) -> Shapes:
    """Of batch 1."""
    return {name: (1, *shape[1:]) for name, shape in shapes.items()}


def test_stable_diffusion_is_taken_of_batch_1(tmp_path: Path) -> None:
    check(tmp_path, "unet", (one_each(UNET), one_each(NOISE)))


PARTS: Sequence[tuple[Shapes, Shapes]] = (
    ({"sample": UNET["sample"], "timestep": (2,)}, {"mid": (2, 16, 4, 6), "skip": (2, 8, 8, 12)}),
    (
        {
            "mid": (2, 16, 4, 6),
            "skip": (2, 8, 8, 12),
            "encoder_hidden_states": UNET["encoder_hidden_states"],
        },
        NOISE,
    ),
)


def test_parts_are_taken_together(tmp_path: Path) -> None:
    check(tmp_path, "unet", *PARTS)


def test_of_several_sizes_swift_opens_the_main_one(tmp_path: Path) -> None:
    """The other could be anything."""
    other = passing({"z": (9, 4, 8, 8)}, {"image": (9, 3, 64, 64)})
    program, target = program_of({"size": other, "main": passing(*DECODER)})
    package = tmp_path / "VAEDecoder.mlpackage"
    save(program, package, target=target, description=Description())
    check_packages("vae_decoder", [package], is_xl=False)
    program, target = program_of({"size": passing(*DECODER), "main": other})
    package = tmp_path / "other" / "VAEDecoder.mlpackage"
    save(program, package, target=target, description=Description())
    with pytest.raises(CompileError, match=r"input 'z' is \[9, 4, 8, 8\]"):
        check_packages("vae_decoder", [package], is_xl=False)


@pytest.mark.parametrize(
    ("component", "parts", "is_xl", "said"),
    [
        (
            "text_encoder",
            [TEXT],
            True,
            r"TextEncoder.mlpackage .*\(TextEncoderXL.swift\): it has no output 'hidden_embeds'",
        ),
        (
            "text_encoder",
            [(TEXT[0], {"last_hidden_state": (77, 8)})],
            False,
            r"output 'last_hidden_state' is \[77, 8\] where Swift's is \[1, tokens 77, embedding\]",
        ),
        (
            "text_encoder",
            [({**TEXT[0], "mask": (1, 77)}, TEXT[1])],
            False,
            r"it has 2 inputs \(input_ids, mask\) where Swift takes the only",
        ),
        (
            "unet",
            [({**UNET, "class_labels": (2,)}, NOISE)],
            False,
            r"Unet.mlpackage .*\(Unet.swift\): Swift feeds no class_labels",
        ),
        (
            "unet",
            [({**UNET, "encoder_hidden_states": (2, 77, 8)}, NOISE)],
            False,
            r"'encoder_hidden_states' is \[2, 77, 8\] where Swift's is \[batch 1 or 2, embed",
        ),
        (
            "unet",
            [({**UNET, "timestep": (1,)}, NOISE)],
            False,
            r"input 'timestep' is \[1\] where Swift's is \[batch 1 or 2\]",
        ),
        (
            "unet",
            [({name: shape for name, shape in UNET.items() if name != "timestep"}, NOISE)],
            False,
            r"it has no input 'timestep'",
        ),
        (
            "unet",
            [({**UNET, "sample": (2, 9, 8, 12)}, {"noise_pred": (2, 4, 8, 12)})],
            False,
            r"'sample' is \[2, 9, 8, 12\] where Swift's is \[batch 1 or 2, channels 4, height, w",
        ),
        (
            "unet",
            [(UNET, {**NOISE, "mid": (2, 8)})],
            False,
            r"it has 2 outputs \(noise_pred, mid\) where Swift takes the only",
        ),
        (
            "unet",
            [(one_each(XL), one_each(NOISE))],
            True,
            r"input 'sample' is \[1, 4, 8, 12\] where Swift's is \[batch 2, ",
        ),
        (
            "unet",
            [({**XL, "time_ids": (2, 7)}, NOISE)],
            True,
            r"'time_ids' is \[2, 7\] where Swift's is \[batch 2, numbers 5 or 6\]",
        ),
        (
            "unet",
            [
                ({"timestep": (2,)}, {"mid": (2, 16)}),
                ({**{k: v for k, v in UNET.items() if k != "timestep"}, "mid": (2, 16)}, NOISE),
            ],
            False,
            r"UnetChunk1.mlpackage .*: it has no input 'sample', whose shape Swift asks it for",
        ),
        (
            "unet",
            [PARTS[0], (PARTS[1][0], {"noise_pred": (2, 4, 8, 8)})],
            False,
            r"UnetChunk2.mlpackage .*'noise_pred' is \[2, 4, 8, 8\] .*, height 8, width 12\]",
        ),
        (
            "vae_encoder",
            [(ENCODER[0], {"latent": (1, 4, 8, 12)})],
            False,
            r"\(Encoder.swift\): output 'latent' is \[1, 4, 8, 12\] where Swift's is \[1, mean an",
        ),
        (
            "vae_decoder",
            [({"z": (2, 4, 8, 12)}, DECODER[1])],
            False,
            r"\(Decoder.swift\): input 'z' is \[2, 4, 8, 12\] where Swift's is \[1, channels 4, ",
        ),
    ],
)
def test_departures_are_told(
    tmp_path: Path,
    component: str,
    parts: Sequence[tuple[Shapes, Shapes]],
    is_xl: bool,
    said: str,
) -> None:
    with pytest.raises(CompileError, match=said):
        check(tmp_path, component, *parts, is_xl=is_xl)


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="input 'z' is not of floats"):
        check(tmp_path, "vae_decoder", DECODER, dtype="int32")


def test_names_of_packages_are_checked(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"called A.mlpackage; .* opens VAEDecoder.mlpackage"):
        check_packages("vae_decoder", [tmp_path / "A.mlpackage"], is_xl=False)


def test_packages_are_called_as_apples() -> None:
    assert package_names("unet", chunked=False) == ("Unet.mlpackage",)
    assert package_names("unet_refiner", chunked=True) == (
        "UnetRefinerChunk1.mlpackage",
        "UnetRefinerChunk2.mlpackage",
    )
    assert {resource.whole for resource in RESOURCES.values()} == {
        "TextEncoder",
        "TextEncoder2",
        "Unet",
        "UnetRefiner",
        "VAEDecoder",
        "VAEEncoder",
    }
