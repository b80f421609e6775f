"""One network from elsewhere: a VAE or a text encoder as a folder or a single file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.components import component
from exporter.components.base import Config, class_name
from exporter.errors import SourceError
from exporter.families import family_of
from exporter.hub import fetch_part, is_hub_id
from exporter.original.configs import text_config, vae_config
from exporter.original.identify import CHECKPOINT, TEXT_ALONE, VAE_ALONE, identify
from exporter.original.parts import network_alone, take_apart
from exporter.progress import Progress
from exporter.source import Source, refuse_pickle
from exporter.sources.folder import MODEL_INDEX, folder_tensors, read_config
from exporter.weights import Tensor, read_header

_PICTURE_SIZE = 512
"""Of a VAE's config, which nothing reads: a VAE's file doesn't say it."""


@dataclass(frozen=True)
class Part:
    """A network's config, and its weights by Diffusers key."""

    config: Config
    tensors: Mapping[str, Tensor]


def open_vae(path: Path, source: Source, progress: Progress) -> Part:
    """Opens a VAE.

    Args:
        path: a folder with config and weights, such a model on the Hub, or a file in original or
            Diffusers naming, also that of a whole checkpoint.
        source: what it is for; its family has what shapes don't say.
        progress: called with lines on what is downloaded.

    Raises:
        SourceError: there is no VAE, or it is broken.
    """
    folder = _as_folder(path, "vae", progress)
    if folder is not None:
        return _open_folder(folder, "vae", component("vae_decoder").classes)
    found = _read_file(path, "vae", VAE_ALONE)
    if not any(".down_blocks." in key for key in found):
        found = network_alone(path, "vae", found)
    return Part(vae_config(found, family_of(source).unsaid, _PICTURE_SIZE), found)


def open_text_encoder(path: Path, network: str, source: Source, progress: Progress) -> Part:
    """Opens a text encoder.

    Args:
        path: a folder with config and weights, such a model on the Hub, or a file of CLIP's or
            OpenCLIP's, also that of a whole checkpoint.
        network: "text_encoder" or "text_encoder_2".
        source: what it is for; its family has what shapes don't say.
        progress: called with lines on what is downloaded.

    Raises:
        SourceError: there is no text encoder, or it is broken.
    """
    folder = _as_folder(path, network, progress)
    if folder is not None:
        return _open_folder(folder, network, component(network).classes)
    tensors = _read_file(path, network, TEXT_ALONE)
    found = network_alone(path, network, tensors)
    unsaid = family_of(source).unsaid.text_encoders[network]
    return Part(text_config(network, found, unsaid), found)


def _as_folder(path: Path, network: str, progress: Progress) -> Path | None:
    """The folder itself, or that of a model on the Hub; None for a file."""
    if is_hub_id(path):
        return fetch_part(path.as_posix(), network, progress)
    return path if path.is_dir() else None


def _open_folder(path: Path, folder: str, wanted: tuple[str, ...]) -> Part:
    """A network's own folder, or that of a whole model around it."""
    inner = path / folder if (path / MODEL_INDEX).is_file() else path
    config = read_config(inner / "config.json")
    if class_name(config) not in wanted:
        raise SourceError(
            f"--{folder.replace('_', '-')} {path} holds {class_name(config)}, not "
            f"{' or '.join(wanted)}."
        )
    return Part(config, folder_tensors(inner))


def _read_file(path: Path, folder: str, kind: str) -> Mapping[str, Tensor]:
    option = f"--{folder.replace('_', '-')} {path}"
    refuse_pickle(path)
    if not path.is_file():
        raise SourceError(f"{option}: no such file or folder.")
    tensors = read_header(path)
    identity = identify(tensors)
    has_it = identity.kind == CHECKPOINT and folder in take_apart(path, tensors).networks
    if identity.kind != kind and not has_it:
        title = "VAE" if folder == "vae" else folder.replace("_", " ")
        raise SourceError(
            f"{option} is no {title}: it seems to be {identity.title} ({identity.reason})."
        )
    return tensors
