"""What Apple's Swift package `StableDiffusion` opens, feeds and reads, and a check against it.

Taken from github.com/apple/ml-stable-diffusion at e12202c (July 2025), folder
swift/StableDiffusion/pipeline: each row names the file that it was read in. Swift feeds arrays of
float32 throughout, which Core ML converts to a model's half precision, and converts what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.coreml.package import MODEL, read_model
from exporter.errors import CompileError

BATCH, CHANNELS = "batch", "channels"

Shape = tuple[int | str, ...]
"""Sizes of axes; the same word stands for the same size throughout a row."""


@dataclass(frozen=True)
class Resource:
    """How a model is called.

    Attributes:
        whole: its name.
        chunks: its names in two parts; none where Swift takes it whole alone.
    """

    whole: str
    chunks: tuple[str, str] | None = None


RESOURCES: Mapping[str, Resource] = {
    "text_encoder": Resource("TextEncoder"),
    "text_encoder_2": Resource("TextEncoder2"),
    "unet": Resource("Unet", ("UnetChunk1", "UnetChunk2")),
    "unet_refiner": Resource("UnetRefiner", ("UnetRefinerChunk1", "UnetRefinerChunk2")),
    "vae_decoder": Resource("VAEDecoder"),
    "vae_encoder": Resource("VAEEncoder"),
}
"""By component; StableDiffusionPipeline+Resources.swift and StableDiffusionXL+Resources.swift. Each
is a `.mlmodelc` beside `vocab.json` and `merges.txt`."""


@dataclass(frozen=True)
class Row:
    """How Swift uses a model.

    Attributes:
        read_in: the file of Swift's that says so.
        fed: shape by name of what it feeds; None names the one input that there is, whatever its
            name.
        read: likewise, what it reads.
        sizes: what a word in the shapes may be, where not everything is taken.
        asked_of_first: inputs whose shape it asks the first of several parts for.
    """

    read_in: str
    fed: Mapping[str | None, Shape]
    read: Mapping[str | None, Shape]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    asked_of_first: tuple[str, ...] = ()


_LATENTS: Shape = (BATCH, CHANNELS, "height", "width")
_PICTURE: Shape = (1, 3, "image height", "image width")

TEXT = Row(
    read_in="TextEncoder.swift",
    fed={None: (1, "tokens")},
    read={"last_hidden_state": (1, "tokens", "embedding")},
)
TEXT_XL = Row(
    read_in="TextEncoderXL.swift",
    fed={None: (1, "tokens")},
    read={"hidden_embeds": (1, "tokens", "embedding"), "pooled_outputs": (1, "pooled embedding")},
)
UNET = Row(
    read_in="Unet.swift",
    fed={
        "sample": _LATENTS,
        "timestep": (BATCH,),
        "encoder_hidden_states": (BATCH, "embedding", 1, "tokens"),
    },
    read={None: _LATENTS},
    # Of batch 1, StableDiffusionPipeline.swift calls it once for each half of guidance.
    sizes={BATCH: (1, 2), CHANNELS: (4,)},
    asked_of_first=("sample",),
)
UNET_XL = Row(
    read_in="Unet.swift",
    fed={
        **UNET.fed,
        "text_embeds": (BATCH, "pooled embedding"),
        "time_ids": (BATCH, "numbers"),
    },
    read=UNET.read,
    # StableDiffusionXLPipeline.swift knows a refiner by its 5 numbers. It feeds both halves always.
    sizes={BATCH: (2,), CHANNELS: (4,), "numbers": (5, 6)},
    asked_of_first=("sample", "time_ids"),
)
DECODER = Row(
    read_in="Decoder.swift",
    fed={None: (1, CHANNELS, "height", "width")},
    read={None: _PICTURE},
    sizes={CHANNELS: (4,)},
)
ENCODER = Row(
    read_in="Encoder.swift",
    fed={None: _PICTURE},
    read={None: (1, "mean and log variance", "height", "width")},
    sizes={"mean and log variance": (8,)},
)

_PLAIN = {
    "text_encoder": TEXT,
    "unet": UNET,
    "vae_decoder": DECODER,
    "vae_encoder": ENCODER,
}
_XL = {
    "text_encoder": TEXT_XL,
    "text_encoder_2": TEXT_XL,
    "unet": UNET_XL,
    "unet_refiner": UNET_XL,
    "vae_decoder": DECODER,
    "vae_encoder": ENCODER,
}


def package_names(component: str, *, chunked: bool) -> tuple[str, ...]:
    """The folders of a component's packages, in the order in which they run."""
    resource = RESOURCES[component]
    names = (resource.whole,)
    if chunked:
        assert resource.chunks is not None, component
        names = resource.chunks
    return tuple(f"{name}.mlpackage" for name in names)


def check_packages(component: str, packages: Sequence[Path], *, is_xl: bool) -> None:
    """Compares written packages with what Swift feeds them and reads of them.

    Args:
        component: whose they are.
        packages: its package, or both parts of it in the order in which they run.
        is_xl: whether SDXL's pipeline opens it.

    Raises:
        CompileError: Swift couldn't run it; says what differs from which of its files.
    """
    row = (_XL if is_xl else _PLAIN)[component]
    named = package_names(component, chunked=len(packages) > 1)
    if (names := tuple(package.name for package in packages)) != named:
        raise CompileError(
            f"packages of {component} are called {' and '.join(names)}; Apple's Swift package "
            f"opens {' and '.join(named)}."
        )
    parts = [_Described.of(package) for package in packages]
    for package, found in _differences(row, packages, parts):
        raise CompileError(
            f"{package.name} isn't what Apple's Swift package takes ({row.read_in}): {found}."
        )


@dataclass(frozen=True)
class _Described:
    """Shapes by name of a package's inputs and outputs; None where it isn't of floats."""

    inputs: Mapping[str, tuple[int, ...] | None]
    outputs: Mapping[str, tuple[int, ...] | None]

    @classmethod
    def of(cls, package: Path) -> _Described:
        """As the function that runs where none is named says, which is what Swift opens."""
        model = read_model(package / MODEL).description
        functions = {function.name: function for function in model.functions}
        opened = functions[model.defaultFunctionName] if functions else model
        return cls(_shapes(opened.input), _shapes(opened.output))


def _shapes(features: Any) -> dict[str, tuple[int, ...] | None]:
    shapes: dict[str, tuple[int, ...] | None] = {}
    for feature in features:
        array = feature.type.multiArrayType
        is_float = array.dataType in (array.FLOAT16, array.FLOAT32)
        shapes[feature.name] = tuple(array.shape) if is_float else None
    return shapes


def _differences(
    row: Row, packages: Sequence[Path], parts: Sequence[_Described]
) -> Sequence[tuple[Path, str]]:
    """What Swift would stumble on, with the package that it stumbles on."""
    between = {name for part in parts[:-1] for name in part.outputs}
    inputs = {
        name: shape
        for part in parts
        for name, shape in part.inputs.items()
        if part is parts[0] or name not in between
    }
    sizes: dict[str, int] = {}
    found = [(packages[0], text) for text in _compare("input", row.fed, inputs, row, sizes)]
    found += [
        (packages[0], f"it has no input {name!r}, whose shape Swift asks it for")
        for name in row.asked_of_first
        if name not in parts[0].inputs and name in inputs
    ]
    outputs = _compare("output", row.read, parts[-1].outputs, row, sizes)
    return [*found, *((packages[-1], text) for text in outputs)]


def _compare(
    kind: str,
    wanted: Mapping[str | None, Shape],
    found: Mapping[str, tuple[int, ...] | None],
    row: Row,
    sizes: dict[str, int],
) -> list[str]:
    """Differences of names and shapes; what the words in shapes are is put into `sizes`."""
    if None in wanted:
        if len(found) != 1:
            return [f"it has {len(found)} {kind}s ({', '.join(found)}) where Swift takes the only"]
        (name,) = found
        wanted = {name: wanted[None]}
    elif kind == "input" and (unfed := found.keys() - wanted.keys()):
        return [f"Swift feeds no {' and no '.join(sorted(unfed))}"]
    differences: list[str] = []
    for name, shape in wanted.items():
        assert name is not None
        if name not in found:
            differences.append(f"it has no {kind} {name!r}")
        elif (actual := found[name]) is None:
            differences.append(f"{kind} {name!r} is not of floats")
        elif not _fits(shape, actual, row, sizes):
            differences.append(
                f"{kind} {name!r} is {list(actual)} where Swift's is {_words(shape, row, sizes)}"
            )
    return differences


def _fits(shape: Shape, actual: tuple[int, ...], row: Row, sizes: dict[str, int]) -> bool:
    if len(shape) != len(actual):
        return False
    for axis, size in zip(shape, actual, strict=True):
        if isinstance(axis, int):
            if axis != size:
                return False
        elif size not in row.sizes.get(axis, (size,)) or sizes.setdefault(axis, size) != size:
            return False
    return True


def _words(shape: Shape, row: Row, sizes: Mapping[str, int]) -> str:
    """A shape with what is known of its sizes: "[batch 1 or 2, channels 4, height 64, width]"."""
    words: list[str] = []
    for axis in shape:
        if isinstance(axis, int):
            words.append(str(axis))
        elif axis in row.sizes:
            words.append(f"{axis} {' or '.join(map(str, row.sizes[axis]))}")
        else:
            words.append(f"{axis} {sizes[axis]}" if axis in sizes else axis)
    return f"[{', '.join(words)}]"
