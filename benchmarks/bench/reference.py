"""The reference pictures: by torch in fp32 from a Diffusers folder, or by a compiled bundle.

They are drawn in a process of their own, so that its memory, torch's above all, is given back and
the benchmark's process never imports torch.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.client import environment, module_command
from benchmarks.bench.results import Settings
from benchmarks.shapes.painters import DIFFUSERS_SAMPLERS
from exporter.families import family_of
from exporter.progress import Progress, silent
from exporter.sources.folder import folder_tensors, open_folder
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import BundleError, LatedgeError, UsageError, unknown_name
from runtimes.manifest import MANIFEST_NAME
from runtimes.optimum.folder import holds_graphs
from runtimes.settle import settle

Floats = NDArray[np.float32]

NO_REFERENCE = (
    "no reference pictures, so no PSNR and SSIM: no bundle's U-Net is stored in fp32; give a "
    "Diffusers folder or such a bundle as the reference."
)
"""The note where `default_reference` finds none."""

_TORCH_SIDE = ("torch", "diffusers", "transformers")
_SCRIPT = "benchmarks.bench.draw_reference"


@dataclass(frozen=True)
class Ask:
    """A picture to be drawn: its text, and the seed of its noise."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Reference:
    """The pictures that others are compared with.

    Attributes:
        label: what drew them, such as "torch fp32, PATH".
        pictures: float32 [H, W, 3] in [0, 1], one an ask, in their order.
    """

    label: str
    pictures: tuple[Floats, ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that draws is told.

    Attributes:
        folder: a Diffusers folder or a compiled bundle.
        by_torch: whether torch draws.
        asks: prompt and seed of each picture.
        settings: of all of them; its prompt and seed have no part in it.
        device: of a bundle's engine.
        threads: within an operation; None leaves it to torch or the engine.
        pictures: file for the result, float32 [n, H, W, 3].
    """

    folder: str
    by_torch: bool
    asks: tuple[tuple[str, int], ...]
    settings: Settings
    device: str
    threads: int | None
    pictures: str


def default_reference(bundles: Sequence[Bundle]) -> Bundle | None:
    """The bundle that others are compared with where the user names no reference.

    Returns:
        The first whose U-Net is stored in fp32 and which is compiled; None where there is none:
        `NO_REFERENCE` says so.
    """
    for bundle in bundles:
        graph = bundle.graph("unet")
        if graph.precision == "fp32" and graph.engine is not None:
            return bundle
    return None


def check_reference(path: Path, settings: Settings) -> None:
    """Refuses, before slow work, what can't draw the reference.

    Args:
        path: a Diffusers folder or a compiled bundle.
        settings: of the pictures.

    Raises:
        UsageError: it is neither, or can't draw with these settings.
        SourceError, BundleError: it is damaged or of another kind of model.
        LatedgeError: torch would draw and isn't installed.
    """
    if not is_diffusers(path):
        bundle = open_bundle(path)
        if bundle.graph("unet").engine is None:
            raise BundleError(
                f"the reference {path} is portable and can't draw yet. Compile it first: "
                f"latedge compile {path} --target onnxruntime -o {path}.ort"
            )
        settle(bundle, settings.prompt, settings.negative_prompt, **_options(settings))
        return
    source = open_folder(path)
    channels = source.config("unet").get("in_channels")
    tasks = family_of(source).tasks.get(channels, ()) if isinstance(channels, int) else ()
    if "text-to-image" not in tasks:
        raise UsageError(
            f"the reference {path} can't make pictures from text; it is made for "
            f"{', '.join(tasks) or 'no task that this version of latedge knows'}."
        )
    if settings.sampler not in DIFFUSERS_SAMPLERS:
        raise unknown_name("sampler with diffusers", settings.sampler, DIFFUSERS_SAMPLERS)
    for network in ("text_encoder", "unet", "vae"):
        folder_tensors(path / network)
    check_torch(f"the reference {path}")


def check_torch(what: str) -> None:
    """Looks whether torch and what comes with it are installed; imports nothing.

    Args:
        what: needs it: the subject of the error's sentence.

    Raises:
        LatedgeError: something is missing.
    """
    missing = [name for name in _TORCH_SIDE if find_spec(name) is None]
    if missing:
        raise LatedgeError(
            f'{what} needs {", ".join(missing)}, not installed here: pip install "latedge[export]".'
        )


def draw_reference(
    path: Path,
    asks: Sequence[Ask],
    settings: Settings,
    *,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress = silent,
) -> Reference:
    """Draws the reference pictures in a process of their own.

    Args:
        path: a Diffusers folder, which torch draws from in fp32, or a compiled bundle.
        asks: the pictures.
        settings: of all of them; an ask's prompt and seed take the place of its own.
        device: of a bundle's engine; torch draws on the CPU.
        threads: within an operation; None leaves it to torch or the engine.
        progress: called with a line a picture.

    Raises:
        UsageError, SourceError, BundleError: as `check_reference`.
        LatedgeError: the process failed; says how it ended.
    """
    check_reference(path, settings)
    by_torch = is_diffusers(path)
    label = f"torch fp32, {path}" if by_torch else _bundle_label(open_bundle(path))
    with TemporaryDirectory(prefix="latedge-reference-") as scratch:
        job = Job(
            folder=str(path.absolute()),
            by_torch=by_torch,
            asks=tuple((ask.prompt, ask.seed) for ask in asks),
            settings=settings,
            device=device,
            threads=threads,
            pictures=str(Path(scratch) / "pictures.npy"),
        )
        _run(job, Path(scratch), progress)
        return Reference(label, tuple(np.load(job.pictures)))


def is_diffusers(path: Path) -> bool:
    """Whether a folder is a Diffusers model rather than a bundle.

    Raises:
        UsageError: it is neither.
    """
    if (path / MANIFEST_NAME).is_file() or (path.is_dir() and holds_graphs(path)):
        return False
    if (path / "model_index.json").is_file():
        return True
    raise UsageError(
        f"the reference {path} is neither a Diffusers folder nor a compiled bundle; give one of "
        "them."
    )


def _options(settings: Settings) -> dict[str, Any]:
    """What `settle` and a pipeline take beside the texts."""
    return {
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "sampler": settings.sampler,
        "height": settings.height,
        "width": settings.width,
    }


def _bundle_label(bundle: Bundle) -> str:
    graph = bundle.graph("unet")
    return f"latedge on {graph.engine}, U-Net stored in {graph.precision}, {bundle.path}"


def _run(job: Job, scratch: Path, progress: Progress) -> None:
    path, errors = scratch / "job.json", scratch / "errors.txt"
    path.write_bytes(msgspec.json.encode(job))
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            module_command(_SCRIPT, str(path)),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                progress(line.rstrip("\n"))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise LatedgeError(f"the reference could not be drawn: {_told(process.returncode, errors)}")


def _told(status: int, errors: Path) -> str:
    lines = errors.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if status < 0:
        return f"its process was ended by signal {-status} (too little memory?)."
    return last
