"""Which text encoders a bundle has, and which of their outputs its U-Net is told.

Stable Diffusion 1.x and 2.x: the last layer's states of one encoder. SDXL: the penultimate layers'
states of two encoders, side by side, and the pooled embedding of the one with a projection; the
refiner has that one alone. (A text encoder of a Core ML package may give these and no others.) The
latent upscaler: the last layer's states before the final layer norm, and the pooled one. The first
latent diffusion models: none, their U-Net takes no text.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.bundle import Bundle
from runtimes.checks import is_whole
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Graph

LAST = "last_hidden_state"
RAW = "hidden_states."
"""States after layer N without the final layer norm, 0 being the embedding."""
NORMALISED = "normalised_states."
"""States after layer N through the final layer norm: outputs that the exporter adds for clip_skip,
0 being the embedding, for all layers but the last."""
POOLER, PROJECTED = "pooler_output", "text_embeds"

LATENT_UPSCALING = "latent-upscaling"
CORE_ML = "coreml"
UNET = "unet"
CONTEXT = "encoder_hidden_states"
"""The U-Net's input that takes the tokens' states."""


@dataclass(frozen=True)
class Encoder:
    """What is read of a text encoder.

    Attributes:
        name: the component.
        states: the role of its tokens' states [n, 77, d] for prompts.
        plain: that for negative and empty prompts, to which clip_skip doesn't apply, as in
            diffusers.
        pooled: the role of the pooled embedding [n, d]; None where the U-Net isn't told this
            encoder's.
    """

    name: str
    states: str
    plain: str
    pooled: str | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Those that are read, each once."""
        read = (self.states, self.plain, self.pooled)
        return tuple(dict.fromkeys(role for role in read if role is not None))


def takes_text(bundle: Bundle, unet: str = UNET) -> bool:
    """Whether a bundle's U-Net takes the states of texts.

    Raises:
        BundleError: the bundle has no U-Net.
    """
    return _takes(bundle.graph(unet), CONTEXT)


def takes_pooled(bundle: Bundle) -> bool:
    """Whether a bundle's U-Net is told a pooled embedding beside the tokens'.

    Raises:
        BundleError: the bundle has no U-Net.
    """
    return LATENT_UPSCALING in bundle.manifest.tasks or _takes(bundle.graph(UNET), PROJECTED)


def text_encoders(bundle: Bundle, clip_skip: int = 0, unet: str = UNET) -> tuple[Encoder, ...]:
    """The text encoders whose states a U-Net takes, in the order of their channels; none for some.

    Args:
        bundle: has them.
        clip_skip: layers left out, checked.
        unet: the component that takes the states.

    Raises:
        BundleError: an encoder doesn't give what the U-Net takes.
    """
    if not takes_text(bundle, unet):
        return ()
    names = tuple(bundle.manifest.tokenizers)
    if _takes(bundle.graph(unet), PROJECTED):
        return _with_projected(bundle, names, clip_skip, unet)
    (name,) = names
    graph = bundle.graph(name)
    if LATENT_UPSCALING in bundle.manifest.tasks:
        last = f"{RAW}{_layers(graph, RAW)}"
        return (Encoder(name, last, last, POOLER),)
    earlier = f"{NORMALISED}{_layers(graph, NORMALISED) - clip_skip}"
    return (Encoder(name, earlier if clip_skip else LAST, LAST),)


def check_clip_skip(bundle: Bundle, value: object) -> int:
    """How many layers are left out, as diffusers counts: 1 takes those one layer earlier.

    Raises:
        UsageError: not a whole number, or more layers than there are, or a Core ML package gives
            one layer's states alone.
        BundleError: the text encoder gives the last states alone.
    """
    if value is None:
        return 0
    if not is_whole(value) or value < 0:
        raise UsageError(f"clip_skip must be a whole number of layers from 0, not {value!r}.")
    if not value:
        return 0
    projected = _takes(bundle.graph(UNET), PROJECTED)
    graphs = [bundle.graph(name) for name in bundle.manifest.tokenizers]
    counts = [
        _count(graph, RAW) - 2 if projected else _count(graph, NORMALISED) for graph in graphs
    ]
    if min(counts) < 1 and any(graph.engine == CORE_ML for graph in graphs):
        raise UsageError(
            f"clip_skip {value} needs the states of earlier layers, and the text encoders of Core "
            "ML's packages give those of one; leave it out, or take a bundle of another engine."
        )
    if min(counts) < 1:
        raise BundleError(
            f"{bundle.path}: clip_skip {value} needs the states of earlier layers, which this text "
            "encoder doesn't give normalised; export the model again with this version of latedge."
        )
    if value > min(counts):
        raise UsageError(
            f"clip_skip must be from 0 to {min(counts)}, the layers of this text encoder, not "
            f"{value}."
        )
    return int(value)


def input_width(unet: Graph, role: str) -> int | None:
    """How wide an input of a U-Net is; None where it takes any width, or there is none."""
    widths = [port.shape[-1] for port in unet.inputs if port.role == role and port.shape]
    return widths[0] if widths and isinstance(widths[0], int) else None


def _with_projected(
    bundle: Bundle, names: tuple[str, ...], clip_skip: int, unet: str
) -> tuple[Encoder, ...]:
    """SDXL's: penultimate states of all encoders; a refiner takes those of the projecting one."""
    widths = {name: _width(bundle.graph(name)) for name in names}
    projecting = [name for name in names if _gives(bundle.graph(name), PROJECTED)]
    if len(projecting) != 1:
        raise BundleError(
            f"{bundle.path}: the U-Net takes {PROJECTED} of one text encoder, and "
            f"{', '.join(projecting) or 'none'} gives them. Export again."
        )
    wanted = input_width(bundle.graph(unet), CONTEXT)
    chosen = names if wanted in (None, sum(widths.values())) else tuple(projecting)
    if wanted not in (None, sum(widths[name] for name in chosen)):
        raise BundleError(
            f"{bundle.path}: the U-Net takes text embeddings {wanted} wide, and the text encoders "
            f"give {' and '.join(map(str, widths.values()))}; they belong to different models."
        )
    return tuple(
        _penultimate(bundle.graph(name), name, clip_skip, pooled=name in projecting)
        for name in chosen
    )


def _penultimate(graph: Graph, name: str, clip_skip: int, *, pooled: bool) -> Encoder:
    projected = PROJECTED if pooled else None
    if alone := _alone(graph):
        return Encoder(name, states=alone, plain=alone, pooled=projected)
    layers = _layers(graph, RAW)
    return Encoder(
        name=name,
        states=f"{RAW}{layers - 1 - clip_skip}",
        plain=f"{RAW}{layers - 1}",
        pooled=projected,
    )


def _alone(graph: Graph) -> str | None:
    """The one layer whose states a text encoder gives: those that its U-Net takes."""
    states = [port.role for port in graph.outputs if port.role.startswith(RAW)]
    return states[0] if len(states) == 1 and not _gives(graph, LAST) else None


def _layers(text_encoder: Graph, prefix: str) -> int:
    """How many layers a text encoder has, by the states that it gives of each.

    Raises:
        BundleError: it doesn't give them.
    """
    count = _count(text_encoder, prefix)
    layers = count if prefix == NORMALISED else count - 1
    if prefix == RAW and layers < 1:
        raise BundleError(
            f"{text_encoder.file} doesn't give its layers' states, which this model's U-Net takes. "
            "Export again."
        )
    return layers


def _count(text_encoder: Graph, prefix: str) -> int:
    return sum(port.role.startswith(prefix) for port in text_encoder.outputs)


def _gives(graph: Graph, role: str) -> bool:
    return any(port.role == role for port in graph.outputs)


def _takes(graph: Graph, role: str) -> bool:
    return any(port.role == role for port in graph.inputs)


def _width(text_encoder: Graph) -> int:
    role = _alone(text_encoder) or LAST
    for port in text_encoder.outputs:
        if port.role == role and port.shape and isinstance(port.shape[-1], int):
            return port.shape[-1]
    raise BundleError(f"{text_encoder.file} doesn't tell how wide its {role} are. Export again.")
