"""The model that all programs run: a Diffusers folder, and one file of the same weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.synthetic import MODELS, synthesize
from benchmarks.synthetic.single_file import NETWORKS, write_single_file
from exporter.weights import read_header
from runtimes.bundle import read_json
from runtimes.errors import UsageError, unknown_name

SHAPES = Path(__file__).resolve().parents[1] / "shapes" / "model"
PIPELINE = "StableDiffusionPipeline"
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Model:
    """A Diffusers folder of Stable Diffusion.

    Attributes:
        name: of the folders made from it.
        folder: where it lies.
        height: of its pictures, in pixels.
        width: likewise.
        fingerprint: changes with its files.
    """

    name: str
    folder: Path
    height: int
    width: int
    fingerprint: str

    def float32_bytes(self) -> int:
        """What the weights of its networks take in float32."""
        files = (file for name in NETWORKS for file in (self.folder / name).glob("*.safetensors"))
        tensors = (tensor for file in files for tensor in read_header(file).values())
        return _FLOAT32_BYTES * sum(math.prod(tensor.shape) for tensor in tensors)


def open_model(given: str, base: Path, progress: Callable[[str], None]) -> Model:
    """Makes a synthetic model, once, or opens a folder.

    Args:
        given: "shapes", a name of `latedge synth`, or the path of a Diffusers folder.
        base: folder of the models that are made.
        progress: told when one is made.

    Raises:
        UsageError: there is no such model, or it isn't Stable Diffusion 1 or 2.
    """
    if given == "shapes":
        return _opened("shapes", SHAPES)
    if given in MODELS:
        folder = base / given
        if not folder.exists():
            progress(f"making the synthetic model {given}")
            synthesize(given, folder)
        return _opened(given, folder)
    folder = Path(given)
    if not folder.is_dir():
        if "/" not in given:
            raise unknown_name("model", given, ("shapes", *MODELS))
        raise UsageError(f"{folder} is no folder; give a Diffusers folder or the name of a model.")
    return _opened(folder.resolve().name, folder.resolve())


def single_file(model: Model, base: Path, progress: Callable[[str], None]) -> Path:
    """The model as one checkpoint in the original naming, written once.

    Raises:
        LatedgeError: the disk is too small.
    """
    path = base / f"{model.name}-{model.fingerprint[:12]}.safetensors"
    if not path.exists():
        progress(f"writing {model.name} as one file")
        base.mkdir(parents=True, exist_ok=True)
        write_single_file(model.folder, path)
    return path


def fingerprint(folder: Path) -> str:
    """Over names, sizes and times of a folder's files, hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found = path.stat()
            line = f"{path.relative_to(folder)} {found.st_size} {found.st_mtime_ns}\n"
            digest.update(line.encode())
    return digest.hexdigest()


def _opened(name: str, folder: Path) -> Model:
    index = folder / "model_index.json"
    if not index.is_file():
        raise UsageError(f"{folder} has no model_index.json; give a Diffusers folder.")
    found = read_json(index).get("_class_name")
    if found != PIPELINE:
        raise UsageError(
            f"{folder} is of class {found!r}; all peers and latedge together run {PIPELINE} alone."
        )
    levels = read_json(folder / "vae" / "config.json")["block_out_channels"]
    size = read_json(folder / "unet" / "config.json")["sample_size"]
    assert isinstance(levels, list)
    assert isinstance(size, int)
    side = size * 2 ** (len(levels) - 1)
    return Model(name, folder, side, side, fingerprint(folder))
