"""The CLIP score of a picture and its prompt, by a CLIP that latedge exports and runs itself.

Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (EMNLP 2021),
in the scale that torchmetrics' `CLIPScore` gives: 100 × cosine, not below 0. Hessel's own has 2.5
in place of 100 and puts "A photo depicts" before the text; neither is done here.
"""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.clip_cache import compiled_clip
from exporter.progress import Progress, silent
from exporter.sources.clip_folder import ClipFolder, open_clip_folder
from runtimes.engine import Engine, load_engine_class
from runtimes.errors import EngineError, unknown_name
from runtimes.pictures import to_uint8

Vector = NDArray[np.float64]

ENGINES = ("onnxruntime", "openvino")
"""Those that run a CLIP, which is compiled from its ONNX graphs; the first that is installed."""


class ClipScorer:
    """Both encoders of a CLIP, loaded. Make one with `open`, and close it.

    Attributes:
        folder: the CLIP's.
        engine: what runs it, with its version.
    """

    def __init__(self, source: ClipFolder, text: Engine, image: Engine) -> None:
        """Puts loaded parts together.

        Args:
            source: the model.
            text: its text encoder.
            image: its image encoder.
        """
        self.folder = source.path
        self.engine = text.version
        self._source, self._text, self._image = source, text, image
        self._texts: dict[str, Vector] = {}

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        engine: str | None = None,
        threads: int | None = None,
        progress: Progress = silent,
    ) -> ClipScorer:
        """Opens a CLIP folder; exports it first where the cache doesn't have it.

        Args:
            folder: as transformers saves a `CLIPModel`, with tokenizer and image settings.
            engine: "onnxruntime" or "openvino"; None for the first that is installed.
            threads: within an operation, on the CPU; None leaves it to the engine.
            progress: called with lines on what is done.

        Raises:
            SourceError, WeightError: it is no CLIP, incomplete, a pickle, or its parts don't go
                together; or it must be exported and torch isn't installed.
            UsageError: no such engine.
            EngineError: the engine isn't installed, or loading failed.
        """
        source = open_clip_folder(Path(folder))
        name = _installed(engine)
        place, compiled = compiled_clip(source, name, progress)
        engine_class = load_engine_class(name)
        with ExitStack() as loaded:
            encoders: list[Engine] = []
            for component in ("clip_text", "clip_image"):
                graph = compiled.components[component].graphs["model"]
                encoders.append(engine_class(place, graph, device="cpu", threads=threads))
                loaded.callback(encoders[-1].close)
            loaded.pop_all()
        return cls(source, *encoders)

    def score(self, picture: NDArray[np.float32], prompt: str) -> float:
        """100 × cosine of the picture's and the prompt's embeddings, not below 0.

        Args:
            picture: float32 [H, W, 3] in [0, 1].
            prompt: its text; what is longer than the encoder takes is cut off.

        Raises:
            EngineError: an encoder failed.
        """
        if prompt not in self._texts:
            self._texts[prompt] = self.embed_text(prompt)
        cosine = float(self._texts[prompt] @ self.embed_picture(picture))
        return 100.0 * max(cosine, 0.0)

    def embed_text(self, prompt: str) -> Vector:
        """The unit vector of a text, float64 [p]."""
        ids = self._source.tokenizer(prompt).input_ids
        return _unit(self._text({"input_ids": ids})["text_embeds"], "text")

    def embed_picture(self, picture: NDArray[np.float32]) -> Vector:
        """The unit vector of a picture, float64 [p]; `picture` as `score` takes it."""
        pixels = self._source.pixels(to_uint8(picture))[np.newaxis]
        return _unit(self._image({"pixel_values": pixels})["image_embeds"], "image")

    def close(self) -> None:
        """Frees the engines; calls after it fail."""
        self._text.close()
        self._image.close()


def _installed(engine: str | None) -> str:
    """The engine that was asked for, or the first that is installed.

    Raises:
        UsageError: there is no such engine.
        EngineError: it isn't installed; said before a slow export.
    """
    if engine is not None and engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    wanted = ENGINES if engine is None else (engine,)
    for name in wanted:
        if find_spec(name) is not None:
            return name
    raise EngineError(
        f"a CLIP needs an engine, and {' or '.join(wanted)} is not installed: "
        f'pip install "latedge[{wanted[0]}]".'
    )


def _unit(embedding: NDArray[np.generic], encoder: str) -> Vector:
    vector = embedding[0].astype(np.float64)
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0):
        raise EngineError(f"CLIP's {encoder} encoder gave an embedding of length {length}.")
    return vector / length
