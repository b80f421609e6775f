"""The folder of a whole CLIP, both encoders, as transformers saves it; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from exporter.components.base import Config
from exporter.errors import SourceError, WeightError
from exporter.source import PICKLES, refuse_pickle
from exporter.sources.folder import folder_tensors, folder_tokenizer, read_config
from exporter.weights import Tensor
from runtimes.clip_pixels import ClipPixels
from runtimes.tokenizer import ClipTokenizer

MODEL_TYPE = "clip"

_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "clip_text": ("text_model.", "text_projection."),
    "clip_image": ("vision_model.", "visual_projection."),
}
"""Component → how its weights' keys begin."""

_CONFIGS = {"clip_text": "text_config", "clip_image": "vision_config"}
_UNUSED = ("logit_scale",)
"""The temperature of training has no part in a cosine."""

_DEFAULTS = {"projection_dim": 512, "image_size": 224, "max_position_embeddings": 77}
_VOCABULARY = 49408


@dataclass(frozen=True)
class ClipFolder:
    """A CLIP whose configs, weight headers, tokenizer and image settings were read.

    Attributes:
        path: the folder.
        configs: by component, as written, with the projection's width and the tokenizer's end of
            a text.
        tensors: weights by component.
        tokenizer: of the text encoder.
        pixels: what the image encoder's pictures go through.
    """

    path: Path
    configs: Mapping[str, Config]
    tensors: Mapping[str, Mapping[str, Tensor]]
    tokenizer: ClipTokenizer
    pixels: ClipPixels

    def content(self) -> object:
        """What the encoders are made of, for a fingerprint; each path stands for its file."""
        return {
            "configs": self.configs,
            "weights": {
                name: {key: [item.file, item.dtype, item.shape, item.offset] for key, item in found}
                for name, found in ((n, sorted(t.items())) for n, t in self.tensors.items())
            },
        }


def open_clip_folder(path: Path) -> ClipFolder:
    """Opens a CLIP folder and checks that its parts belong together.

    Args:
        path: holds config.json, model.safetensors, a tokenizer and preprocessor_config.json.

    Raises:
        SourceError: there is none, it is no CLIP, or its parts don't go together.
        WeightError: it has weights that no CLIP has, or lacks an encoder's.
        LatedgeError: the tokenizer or the image settings are missing or broken.
    """
    refuse_pickle(path)
    if not path.is_dir():
        what = "a file" if path.is_file() else "no such folder"
        raise SourceError(f"{path} is {what}; give the folder of a CLIP model (transformers).")
    config = read_config(path / "config.json")
    found = config.get("model_type")
    if found != MODEL_TYPE:
        raise SourceError(
            f"{path} is no CLIP with both encoders: its config.json has model_type {found!r}, not "
            f"{MODEL_TYPE!r}."
        )
    configs = {name: _encoder_config(path, config, field) for name, field in _CONFIGS.items()}
    _check_weights(path)
    tensors = _split(path, folder_tensors(path))
    folder_tokenizer(path)  # says what is missing
    tokenizer, pixels = ClipTokenizer.open(path), ClipPixels.read(path)
    _check_tokenizer(path, tokenizer, configs["clip_text"])
    _check_pixels(path, pixels, configs["clip_image"])
    configs["clip_text"]["eos_token_id"] = tokenizer.eos_token_id
    return ClipFolder(path, configs, tensors, tokenizer, pixels)


def _encoder_config(path: Path, config: Config, field: str) -> dict[str, Any]:
    """An encoder's config, as transformers takes it out of the whole one."""
    # Public folders repeat the config under a second name, which wins over the first.
    given = config.get(f"{field}_dict") or config.get(field)
    if not isinstance(given, dict):
        raise SourceError(f"{path / 'config.json'} has no {field}; download the whole folder.")
    # The whole model's projections have its own width, whatever the encoders' configs say.
    width = config.get("projection_dim", _DEFAULTS["projection_dim"])
    found: dict[str, Any] = {**cast("dict[str, Any]", given), "projection_dim": width}
    for name in found.keys() & _DEFAULTS.keys():
        if type(found[name]) is not int:
            raise SourceError(
                f"{path / 'config.json'}: {name} is {found[name]!r}, not a whole number."
            )
    return found


def _check_weights(path: Path) -> None:
    """Refuses a folder of pickles; says how to convert a CLIP, which diffusers wouldn't."""
    names = sorted(found.name for found in path.iterdir())
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise SourceError(
            f"{path / pickles[0]} is a pickle, which can run code when it is loaded, and is "
            "refused. Where you trust it, convert it: `CLIPModel.from_pretrained(FOLDER)"
            ".save_pretrained(NEW)`, and copy the other files."
        )


def _split(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {
        name: {key: item for key, item in tensors.items() if key.startswith(prefixes)}
        for name, prefixes in _PREFIXES.items()
    }
    for name, prefixes in _PREFIXES.items():
        if not found[name]:
            raise WeightError(
                f"{path} has no weights of CLIP's {name.removeprefix('clip_')} encoder "
                f"({prefixes[0]}…): a score takes both encoders."
            )
    known = {key for part in found.values() for key in part}
    unknown = sorted(tensors.keys() - known - set(_UNUSED))
    if unknown:
        raise WeightError(f"{path}: weight {unknown[0]} is no CLIP's ({len(unknown)} such).")
    return found


def _check_tokenizer(path: Path, tokenizer: ClipTokenizer, config: Config) -> None:
    length = config.get("max_position_embeddings", _DEFAULTS["max_position_embeddings"])
    if tokenizer.model_max_length != length:
        raise SourceError(
            f"{path}: the tokenizer gives {tokenizer.model_max_length} ids and the text encoder "
            f"takes {length}; they belong to different models."
        )
    rows = config.get("vocab_size", _VOCABULARY)
    if not isinstance(rows, int) or rows < len(tokenizer):
        raise SourceError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens and the text encoder takes "
            f"{rows}; they belong to different models."
        )


def _check_pixels(path: Path, pixels: ClipPixels, config: Config) -> None:
    wanted = config.get("image_size", _DEFAULTS["image_size"])
    given = pixels.result_sides
    if given != (wanted, wanted):
        sides = "pictures of any size" if given is None else f"{given[0]}×{given[1]}"
        raise SourceError(
            f"{path}: its image settings give {sides}, and the image encoder takes "
            f"{wanted}×{wanted}; they belong to different models."
        )
