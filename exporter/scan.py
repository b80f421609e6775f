"""Runs the components of a portable bundle in float32 and finds the largest value of each.

Inputs are what a picture's components get: prompts' tokens and what the text encoders make of them,
latents of unit variance in the scale that each network takes, pictures in [-1, 1]. Latents and
pictures come as white noise, which has all frequencies alike, and as noise of few cells, which has
areas of one colour as pictures do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.prompts import NOISE_LEVEL, PICTURE_NUMBERS, PROMPTS
from exporter.segments import Extreme, SegmentedGraph
from runtimes.bundle import Bundle
from runtimes.errors import BundleError
from runtimes.latents import to_decoder
from runtimes.manifest import Port
from runtimes.noise import Generator
from runtimes.prompts.encoders import text_encoders
from runtimes.tokenizer import ClipTokenizer

Array = NDArray[Any]
Feeds = dict[str, Array]

TIMESTEPS = (999.0, 500.0, 20.0)
"""Of a picture's beginning, middle and end, in a schedule of 1000."""

K_TIMESTEPS = (0.67, 0.0, -0.88)
"""The same for a K-U-Net, which is told the logarithm of sigma by 4: sigma 14.6, 1 and 0.03."""

PIXELS = 128
"""Side of the picture: values hardly grow with it, the time does with its square."""

_COARSE = 4


class Scan:
    """Finds the largest values of a bundle's components."""

    def __init__(self, bundle: Bundle) -> None:
        """Nothing is run yet.

        Args:
            bundle: a portable bundle.
        """
        self._bundle = bundle
        self._generator = Generator(0)
        self._texts: dict[str, tuple[dict[str, Array], Extreme]] = {}

    def largest(self, name: str) -> Extreme:
        """The largest value that a component computes.

        Raises:
            EngineError: ONNX Runtime failed.
        """
        if name in self._bundle.manifest.tokenizers:
            return self._text(name)[1]
        graph = SegmentedGraph(self._bundle.path, self._bundle.graph(name))
        return graph.run(self._samples(name))[1]

    def _text(self, name: str) -> tuple[dict[str, Array], Extreme]:
        """What a text encoder makes of prompts, by role, and its largest value; run once."""
        if name not in self._texts:
            graph = self._bundle.graph(name)
            folder = self._bundle.manifest.tokenizers[name]
            ids = ClipTokenizer.open(self._bundle.path / folder)(PROMPTS[1:2]).input_ids
            feeds = {graph.inputs[0].name: ids}
            (outputs,), extreme = SegmentedGraph(self._bundle.path, graph).run([feeds])
            by_role = {port.role: outputs[port.name] for port in graph.outputs}
            self._texts[name] = by_role, extreme
        return self._texts[name]

    def _samples(self, name: str) -> list[Feeds]:
        # Each component's own: what the others were given changes nothing.
        self._generator = Generator(0)
        ports = self._bundle.graph(name).inputs
        if any(port.role == "timestep" for port in ports):
            return [
                {port.name: self._unet_input(name, port, timestep) for port in ports}
                for timestep in self._timesteps
            ]
        return [
            {port.name: self._spatial(port, self._shape(port), coarse=coarse) for port in ports}
            for coarse in (False, True)
        ]

    @property
    def _timesteps(self) -> tuple[float, ...]:
        is_k_unet = self._bundle.manifest.prediction_type == "k_unet"
        return K_TIMESTEPS if is_k_unet else TIMESTEPS

    def _unet_input(self, name: str, port: Port, timestep: float) -> Array:
        shape = self._shape(port)
        if port.role == "timestep":
            return np.full(shape, timestep, port.dtype)
        if port.role == "class_labels":
            return np.full(shape, NOISE_LEVEL, port.dtype)
        if port.role == "time_ids" and shape[-1] in PICTURE_NUMBERS:
            return np.array(PICTURE_NUMBERS[shape[-1]][1:], port.dtype)
        told = self._told(name, port.role)
        if told is not None and told.shape == shape:
            return told
        # At the end of a schedule latents have areas of one colour, before it is all noise.
        return self._spatial(port, shape, coarse=timestep == self._timesteps[-1])

    def _told(self, name: str, role: str) -> Array | None:
        """What the text encoders give a U-Net; None where the bundle has none that it takes."""
        if role not in ("encoder_hidden_states", "text_embeds"):
            return None
        try:
            encoders = text_encoders(self._bundle, unet=name)
        except (BundleError, ValueError):  # a bundle of some of the components
            return None
        if role == "text_embeds":
            return next((self._text(e.name)[0][e.pooled] for e in encoders if e.pooled), None)
        return np.concatenate([self._text(e.name)[0][e.states] for e in encoders], axis=-1)

    def _spatial(self, port: Port, shape: tuple[int, ...], *, coarse: bool) -> Array:
        """Noise in the scale of a port: latents, or a picture, or whatever it is."""
        values = self._generator.randn(shape)
        if coarse and len(shape) == 4:
            small = values[..., ::_COARSE, ::_COARSE].repeat(_COARSE, -1).repeat(_COARSE, -2)
            values = np.ascontiguousarray(small[..., : shape[2], : shape[3]])
        if port.role == "latent_sample":
            return to_decoder(values, self._bundle.manifest.latents)
        return np.clip(values, -1, 1) if "image_height" in port.shape else values

    def _shape(self, port: Port) -> tuple[int, ...]:
        manifest = self._bundle.manifest
        factor = manifest.latents.vae_factor
        cells = min(PIXELS, manifest.defaults.height, manifest.defaults.width) // factor
        image = {"image_height": cells * factor, "image_width": cells * factor}
        latent = {"height": cells, "width": cells}
        sizes = {"batch": 1, "sequence": 77, **latent, **image}
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in port.shape)
