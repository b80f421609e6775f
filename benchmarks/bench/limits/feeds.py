"""Which calls of its components a picture makes.

The pipeline itself runs, on engines that only write down what they are fed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bench.limits.graph import CountError, Shape
from benchmarks.bench.results import Settings
from runtimes.bundle import Bundle, read_json
from runtimes.component import Component
from runtimes.engine import Array
from runtimes.engines.contract import check_feeds, check_outputs
from runtimes.errors import BundleError
from runtimes.manifest import Graph, Port
from runtimes.metadata import Origin
from runtimes.parts import loaded_parts
from runtimes.pipeline import Pipeline
from runtimes.prompts import PromptTruncated
from runtimes.settle import settle
from runtimes.tokenizer import ClipTokenizer
from runtimes.version import VERSION

_OUTPUTS = {
    "text_encoder": "last_hidden_state",
    "unet": "out_sample",
    "vae_decoder": "sample",
}
"""Component → role of the output that the pipeline reads."""


@dataclass(frozen=True)
class Calls:
    """The calls that a component's stage makes.

    Attributes:
        feeds: of one call of the engine, by the graph's names.
        per_sample: calls that one sample of the stage times: a graph that is built for one prompt
            is called for each.
    """

    feeds: Mapping[str, Array]
    per_sample: int

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of each input."""
        return {name: array.shape for name, array in self.feeds.items()}


def picture_calls(bundle: Bundle, settings: Settings) -> dict[str, Calls]:
    """The calls of each component while one picture is made.

    Args:
        bundle: compiled or not; it is not loaded.
        settings: of the picture.

    Raises:
        UsageError: the bundle can't make such a picture.
        BundleError: the bundle can't make pictures from text.
        CountError: nobody tells the width of the text embeddings.
    """
    settled = settle(
        bundle,
        settings.prompt,
        settings.negative_prompt,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        seed=settings.seed,
        sampler=settings.sampler,
        height=settings.height,
        width=settings.width,
    )
    recorders = {name: _Recorder(bundle, name) for name in _OUTPUTS}
    tokenizer = ClipTokenizer.open(bundle.path / bundle.manifest.tokenizers["text_encoder"])
    components = [item.component() for item in recorders.values()]
    origin = Origin(
        bundle_sha256=bundle.sha256,
        engine="none",
        device="none",
        threads=None,
        latedge_version=VERSION,
    )
    pipeline = Pipeline(bundle, loaded_parts({"text_encoder": tokenizer}, components), origin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptTruncated)  # whoever draws the picture is told
        result = pipeline.run(settled, output_type="np")
    samples = {"text_encoder": 1, "unet": len(result.timings.unet), "vae_decoder": 1}
    return {
        name: Calls(recorder.feeds, recorder.calls // samples[name])
        for name, recorder in recorders.items()
    }


class _Recorder:
    """Stands for a loaded graph: keeps its last feeds, and gives unit normal noise."""

    device = "none"
    version = "none"

    def __init__(self, bundle: Bundle, name: str) -> None:
        self.graph, self._bundle, self._name = bundle.graph(name), bundle, name
        self.feeds: Mapping[str, Array] = {}
        self.calls = 0
        self._random = np.random.default_rng(0)

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        check_feeds(self.graph, feeds)
        self.feeds, self.calls = dict(feeds), self.calls + 1
        port = self._output()
        (name,) = check_outputs(self.graph, [port.name] if outputs is None else outputs)
        shape = _output_shape(self._bundle, self._name, _by_role(self.graph, feeds))
        return {name: self._random.standard_normal(shape, dtype=np.float32)}

    def close(self) -> None:
        """Holds nothing."""

    def component(self) -> Component:
        """The component as the pipeline takes it."""
        inputs = {port.role: port for port in self.graph.inputs}
        return Component(self._name, self, inputs, self._output())

    def _output(self) -> Port:
        role = _OUTPUTS[self._name]
        for port in self.graph.outputs:
            if port.role == role:
                return port
        raise BundleError(f"{self._name} in {self._bundle.path} gives no {role}.")


def _by_role(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Shape]:
    return {port.role: feeds[port.name].shape for port in graph.inputs}


def _output_shape(bundle: Bundle, name: str, shapes: Mapping[str, Shape]) -> Shape:
    """What the component gives, also where the graph leaves its output's sizes open."""
    space = bundle.manifest.latents
    if name == "text_encoder":
        return (*shapes["input_ids"], _text_width(bundle))
    if name == "unet":
        batch, _, height, width = shapes["sample"]
        return (batch, space.channels, height, width)
    batch, _, height, width = shapes["latent_sample"]
    return (batch, 3, height * space.vae_factor, width * space.vae_factor)


def _text_width(bundle: Bundle) -> int:
    """Channels of the text embeddings: from the graphs, else from the U-Net's config."""
    ports = (
        *(port for port in bundle.graph("unet").inputs if port.role == "encoder_hidden_states"),
        *(p for p in bundle.graph("text_encoder").outputs if p.role == "last_hidden_state"),
    )
    for port in ports:
        if port.shape and isinstance(port.shape[-1], int):
            return port.shape[-1]
    found = read_json(bundle.path / "unet" / "config.json").get("cross_attention_dim")
    if not isinstance(found, int):
        raise CountError(f"{bundle.path} doesn't say how wide its text embeddings are.")
    return found
