"""Keeps compiled CLIPs in the cache folder, so that each is exported once; read without torch."""

from __future__ import annotations

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from exporter.errors import SourceError
from exporter.fingerprint import fingerprint
from exporter.progress import Progress, silent
from exporter.sources.clip_folder import ClipFolder
from exporter.staged_files import list_files
from exporter.staging import check_room, staged
from runtimes.bundle import HashMemory, cache_folder
from runtimes.errors import BundleError
from runtimes.manifest import Component, File

RECORD_NAME = "clip.json"
_TORCH_SIDE = ("torch", "transformers", "onnx_ir", "onnxscript")


class CompiledClip(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in a folder of the cache.

    Attributes:
        made_by: latedge's version and a hash of its code.
        components: "clip_text" and "clip_image", with paths relative to the folder.
        files: all other files of the folder.
    """

    made_by: str
    components: dict[str, Component]
    files: dict[str, File]


def compiled_clip(
    source: ClipFolder, target: str, progress: Progress = silent
) -> tuple[Path, CompiledClip]:
    """A CLIP compiled for a target: from the cache, or made now.

    An entry is used if it was made of the same content by this version of latedge and all its files
    have their sizes and hashes; else it is made anew.

    Args:
        source: the model.
        target: "onnxruntime" or "openvino".
        progress: called with lines on what is done.

    Returns:
        The folder and what it holds.

    Raises:
        SourceError: it must be made, and torch isn't installed.
        LatedgeError: it can't be made; see `exporter.clip`.
    """
    run = fingerprint("clip", source.content(), {"target": target})
    key = hashlib.sha256(f"{run.source} {target}".encode()).hexdigest()[:32]
    folder = cache_folder() / "clip" / key
    made_by = run.versions["latedge"]
    found = _read(folder, made_by)
    if found is None:
        _check_torch(source, folder)
        found = _make(source, folder, target, made_by, progress)
    return folder, found


def _read(folder: Path, made_by: str) -> CompiledClip | None:
    """What a folder holds; None where that is not whole or not of this version."""
    try:
        found = msgspec.json.decode((folder / RECORD_NAME).read_bytes(), type=CompiledClip)
        if found.made_by != made_by:
            return None
        memory = HashMemory.open()
        for name, file in found.files.items():
            # The size first: a hash of gigabytes takes seconds.
            if (folder / name).stat().st_size != file.size:
                return None
            if memory.sha256(folder / name) != file.sha256:
                return None
    except (OSError, BundleError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    memory.save()
    return found


def _check_torch(source: ClipFolder, folder: Path) -> None:
    missing = [name for name in _TORCH_SIDE if find_spec(name) is None]
    if missing:
        raise SourceError(
            f"the CLIP in {source.path} is not exported yet, which takes {', '.join(missing)}: "
            'pip install "latedge[export]", or copy the folder '
            f"{folder.relative_to(cache_folder()).as_posix()} of LATEDGE_CACHE from a machine that "
            "has made it with the same latedge."
        )


def _make(
    source: ClipFolder, folder: Path, target: str, made_by: str, progress: Progress
) -> CompiledClip:
    from exporter.clip import compile_clip, export_clip

    progress(f"exporting the CLIP in {source.path} for {target}; it is kept for the next time")
    shutil.rmtree(folder, ignore_errors=True)
    tensors = (tensor for part in source.tensors.values() for tensor in part.values())
    # The portable form and the compiled one, in float32, lie side by side for a while.
    check_room(folder, 3 * sum(tensor.size_bytes for tensor in tensors))
    with staged(folder, force=False) as content:
        # Beside the output: as much room, and the same file system.
        with TemporaryDirectory(dir=content.parent, prefix="portable-") as scratch:
            portable = export_clip(source, Path(scratch), progress)
            entries = compile_clip(portable, source, content, target=target, progress=progress)
        found = CompiledClip(made_by=made_by, components=entries, files=list_files(content, {}))
        (content / RECORD_NAME).write_bytes(msgspec.json.encode(found))
    return found
