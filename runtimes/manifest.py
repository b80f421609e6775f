"""The manifest of a bundle, `latedge.json`: its types, how it is read and how it is written.

The schema's version is `major.minor`. A reader ignores optional fields that it doesn't know, and
refuses another major, or a name in `requires` that it doesn't know, by name. The manifest holds no
clock times and no measurements: the same source, versions and options give the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from runtimes.bundle_paths import collision, is_inside, unportable
from runtimes.errors import BundleError

MANIFEST_NAME = "latedge.json"
SCHEMA_MAJOR = 1
SCHEMA_MINOR = 5
KNOWN_REQUIREMENTS: frozenset[str] = frozenset()
"""Names that a manifest may list in `requires`: features a reader must know to run the bundle."""

DType = Literal["float32", "float16", "bfloat16", "int64", "int32", "uint8", "int8", "bool"]


class Port(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An input or output of a graph.

    Attributes:
        role: what the tensor means to the runtime, such as "sample" or "encoder_hidden_states".
        name: what the graph calls it.
        dtype: its element type.
        shape: sizes as the role has them; a string is a symbolic axis ("batch", "height", …, latent
            units).
        axes: of a graph that lays the array out otherwise: axis i of the graph's is axis axes[i] of
            `shape`, and -1 a new one of size 1. None where they are the same.
        repeat: how often the graph wants the first axis repeated, such as a timestep [1] that it
            takes once for each of 2 samples; `axes` come after it.
    """

    role: str
    name: str
    dtype: DType
    shape: tuple[int | str, ...]
    axes: tuple[int, ...] | None = None
    repeat: int = 1


class Arithmetic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a graph may be computed in, and why.

    Attributes:
        dtype: "fp32" where no device may compute in less; "fp16" where the graph is in half
            precision, or a device may compute it so.
        reason: "range" where the largest value decided, "force_upcast" where the network's config
            says so, "asked" where the user did.
        largest: largest magnitude of its values in float32 on ordinary inputs, to two digits; None
            where it wasn't measured, or was infinite.
        value: which value that was.
    """

    dtype: Literal["fp32", "fp16"]
    reason: Literal["range", "force_upcast", "asked"]
    largest: float | None = None
    value: str | None = None

    def __str__(self) -> str:
        """In words."""
        if self.reason == "asked":
            return f"{self.dtype}, as asked"
        largest = "is not finite" if self.largest is None else f"reaches {self.largest:g}"
        upcast = "force_upcast in its config, though it" if self.reason == "force_upcast" else "it"
        return f"{self.dtype}: {upcast} {largest} at {self.value}"


class Graph(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One compiled or portable graph of a component.

    Attributes:
        file: path of the graph in the bundle.
        inputs: in the graph's own order.
        outputs: in the graph's own order.
        weights: paths of the weight files that the graph points into.
        precision: how the weights are stored: "fp32", "fp16" or "bf16".
        engine: the engine that runs it, or None for a portable graph, which is compiled first.
        arithmetic: what it may be computed in; None leaves it to graph and device.
        function: which of a file's several graphs it is; None where there is one.
        chunks: paths of further graphs that run after `file`, in order, each fed with the inputs
            and with what the one before it gave; the outputs are the last one's.
        compression: how weights are stored in fewer bits, such as "palette-6"; None where in none.
    """

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: tuple[str, ...]
    precision: str
    engine: str | None = None
    arithmetic: Arithmetic | None = None
    function: str | None = None
    chunks: tuple[str, ...] = ()
    compression: str | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to rebuild the torch module of a component from the bundle alone.

    Attributes:
        component: name of the exporter's component wrapper, such as "unet".
        class_name: the network's class, such as "UNet2DConditionModel".
        config: path of the network's own config.json in the bundle.
        weights: path of its canonical weight file in the bundle.
        attention_processor: the attention processor the graph was captured with.
        adapters: adapters fused into the weights, in order.
    """

    component: str
    class_name: str
    config: str
    weights: str
    attention_processor: str = "AttnProcessor2_0"
    adapters: tuple[str, ...] = ()


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A folder of graphs over shared weight files.

    Attributes:
        graphs: by name; "model" is the plain one.
        recipe: how to rebuild the torch module; None where a target leaves no float weights.
        weight_map: path of the map from weight keys to the engine's tensors.
    """

    graphs: dict[str, Graph]
    recipe: Recipe | None = None
    weight_map: str | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Size in bytes and SHA-256 (hex) of a file of the bundle."""

    size: int
    sha256: str


class Latents(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The latent space.

    Attributes:
        channels: of the latents.
        scaling_factor: what brings the VAE's latents to unit variance.
        vae_factor: pixels per cell, in each direction.
        multiple: cells of a side are a multiple of it: some U-Nets take no others.
        latents_mean: of the VAE's latents by channel, where its config says it: the U-Net's are
            (latents - mean) · scaling_factor / std; None in other models.
        latents_std: their standard deviation by channel, likewise.
    """

    channels: int
    scaling_factor: float
    vae_factor: int
    multiple: int = 1
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


class Conditioning(msgspec.Struct, frozen=True, kw_only=True):
    """How SDXL's pooled text embedding and the numbers about a picture are made.

    Attributes:
        force_zeros_for_empty_prompt: where no negative prompt is given, its states and its pooled
            embedding are zeros rather than an empty prompt's.
        requires_aesthetics_score: an aesthetic score stands in `time_ids` in the place of the
            target size: 5 numbers for 6.
        is_cosxl_edit: an InstructPix2Pix model that takes its picture's latents scaled.
    """

    force_zeros_for_empty_prompt: bool
    requires_aesthetics_score: bool
    is_cosxl_edit: bool = False


class Refiner(msgspec.Struct, frozen=True, kw_only=True):
    """SDXL's refiner in its base's bundle: what differs from the base's.

    Attributes:
        component: its U-Net's component; text encoder and VAE are the base's.
        prediction_type: what its U-Net predicts.
        scheduler: path of its scheduler_config.json in the bundle.
        conditioning: how its U-Net is told of text and picture.
    """

    component: str
    prediction_type: str
    scheduler: str
    conditioning: Conditioning


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What `generate` uses where the caller says nothing; height and width in pixels."""

    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    sampler: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the bundle comes from.

    Attributes:
        source_sha256: over what was taken from the source: configs, tokenizers and weights.
        tools: versions of the tools.
        options: those of each verb.
        source_kind: "folder", "checkpoint" (a single file) or "hub"; None in schema 1.0.
        hub_id: the model's id on the Hugging Face Hub.
        revision: its commit there.
    """

    source_sha256: str
    tools: dict[str, str]
    options: dict[str, dict[str, str]]
    source_kind: str | None = None
    hub_id: str | None = None
    revision: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bundle is. See the module's docstring for the rules of its schema.

    Attributes:
        schema: "major.minor".
        family: a table of the exporter, such as "sd1".
        tasks: what it can do, such as "text-to-image".
        prediction_type: what the U-Net predicts: "epsilon", "v_prediction", "sample" or "k_unet".
        scheduler: path of the source's scheduler_config.json in the bundle.
        tokenizers: folder of the tokenizer by text encoder's component name.
        latents: the latent space.
        defaults: settings where the caller gives none.
        components: by name: text_encoder, unet, vae_decoder, vae_encoder, …
        files: every file of the bundle but the manifest and the verification report.
        provenance: where it comes from.
        target: the target that compiled it, or None for a portable bundle.
        requires: features that a reader must know.
        low_res_scheduler: path of the scheduler_config.json of the noise that an upscaler adds to
            its picture; None for other models.
        conditioning: of SDXL's; None for other models.
        refiner: of a base's bundle that has its refiner beside it; None for others.
    """

    schema: str
    family: str
    tasks: tuple[str, ...]
    prediction_type: str
    scheduler: str
    tokenizers: dict[str, str]
    latents: Latents
    defaults: Defaults
    components: dict[str, Component]
    files: dict[str, File]
    provenance: Provenance
    target: str | None = None
    requires: tuple[str, ...] = ()
    low_res_scheduler: str | None = None
    conditioning: Conditioning | None = None
    refiner: Refiner | None = None


class _Version(msgspec.Struct):
    schema: str
    requires: tuple[str, ...] = ()


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `latedge.json`: sorted keys, two spaces of indent, a line end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def read_manifest(bundle: Path) -> Manifest:
    """Reads and checks `latedge.json` of a bundle folder.

    Raises:
        BundleError: the folder or the manifest is missing, isn't JSON, has a field of a wrong
            type, another major version, an unknown requirement, a path that leaves the bundle, or
            one that some system can't hold.
    """
    path = bundle / MANIFEST_NAME
    if not bundle.is_dir():
        raise BundleError(f"no bundle at {bundle}: not a folder. Make one with `latedge export`.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError as e:
        raise BundleError(f"{bundle} is not a latedge bundle: it has no {MANIFEST_NAME}.") from e
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    try:
        _check_version(path, msgspec.json.decode(raw, type=_Version))
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BundleError(f"{path} is not a valid manifest: {e}.") from e
    _check_paths(path, manifest)
    return manifest


def _check_version(path: Path, found: _Version) -> None:
    major, dot, minor = found.schema.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise BundleError(f"{path}: `schema` is {found.schema!r}, not major.minor.")
    if int(major) != SCHEMA_MAJOR:
        raise BundleError(
            f"{path}: schema {found.schema} can't be read by this version of latedge, which reads "
            f"{SCHEMA_MAJOR}.x. Export again, or install the version that made it."
        )
    for name in found.requires:
        if name not in KNOWN_REQUIREMENTS:
            raise BundleError(
                f"{path}: the bundle requires {name!r}, which this version of latedge doesn't "
                f"know (it knows: {', '.join(sorted(KNOWN_REQUIREMENTS)) or 'none'}). Upgrade."
            )


def _check_paths(path: Path, manifest: Manifest) -> None:
    for field, value in _paths(manifest):
        if not is_inside(value):
            raise BundleError(f"{path}: {field} is {value!r}, a path that leaves the bundle.")
        if reason := unportable(value):
            raise BundleError(f"{path}: {field} is {value!r}, but {reason}. Name it otherwise.")
        is_folder = field.startswith("tokenizers.")
        if not is_folder and not field.startswith("files.") and value not in manifest.files:
            raise BundleError(f"{path}: {field} is {value!r}, which `files` doesn't list.")
    if both := collision(manifest.files):
        raise BundleError(
            f"{path}: `files` lists {both[0]!r} and {both[1]!r}, which are one on systems that "
            "don't tell case or forms of accents apart. Name one otherwise."
        )


def _paths(manifest: Manifest) -> list[tuple[str, str]]:
    found = [("scheduler", manifest.scheduler)]
    if manifest.low_res_scheduler is not None:
        found.append(("low_res_scheduler", manifest.low_res_scheduler))
    if manifest.refiner is not None:
        found.append(("refiner.scheduler", manifest.refiner.scheduler))
    found += [(f"tokenizers.{name}", folder) for name, folder in manifest.tokenizers.items()]
    found += [(f"files.{name}", name) for name in manifest.files]
    for name, component in manifest.components.items():
        where = f"components.{name}"
        if component.weight_map is not None:
            found.append((f"{where}.weight_map", component.weight_map))
        if component.recipe is not None:
            found.append((f"{where}.recipe.config", component.recipe.config))
            found.append((f"{where}.recipe.weights", component.recipe.weights))
        for key, graph in component.graphs.items():
            found.append((f"{where}.graphs.{key}.file", graph.file))
            found += [(f"{where}.graphs.{key}.chunks", chunk) for chunk in graph.chunks]
            found += [(f"{where}.graphs.{key}.weights", weight) for weight in graph.weights]
    return found
