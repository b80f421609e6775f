"""Models on the Hugging Face Hub: what is needed of one, pinned to a commit, in the Hub's cache.

The small files come when a model is opened, a network's weights when they are asked for: a model
that is refused, or a component that isn't wanted, costs no download. Pickles are never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from exporter.errors import SourceError
from exporter.progress import Progress
from exporter.source import NETWORKS, PICKLES
from exporter.sources.folder import (
    MODEL_INDEX,
    OTHER_NAMES,
    SCHEDULER,
    TOKENIZER_FILES,
    VARIANTS,
    WEIGHT_STEMS,
)
from exporter.weights import shards_of
from runtimes.errors import UsageError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_CONFIG = "config.json"
_FOLDERS = (*NETWORKS, *OTHER_NAMES.values())
_TOKENIZERS = ("tokenizer", "tokenizer_2")
_TIMEOUT_SECONDS = 30
_WORTH_TELLING_BYTES = 1_000_000


@dataclass(frozen=True)
class HubModel:
    """A model at one commit.

    Attributes:
        hub_id: `organisation/name`.
        revision: the commit.
        folder: its snapshot in the cache, which has the small files.
        sizes: every file of the commit → its bytes, None where the Hub doesn't say; None where the
            Hub wasn't reached and the cache must do.
        progress: called with a line per large file that is downloaded.
    """

    hub_id: str
    revision: str
    folder: Path
    sizes: Mapping[str, int | None] | None
    progress: Progress

    def fetch_weights(self, folder: str) -> None:
        """Downloads a network's safetensors files, the unsuffixed variant before fp16.

        Raises:
            SourceError: there are none, or the download failed.
        """
        if self.sizes is None:
            return
        prefix = f"{folder}/" if folder else ""
        for variant in VARIANTS:
            for stem in WEIGHT_STEMS:
                single = f"{prefix}{stem}{variant}.safetensors"
                sharded = f"{prefix}{stem}.safetensors.index{variant}.json"
                if single in self.sizes:
                    self.fetch(single)
                    return
                if sharded in self.sizes:
                    index = self.fetch(sharded)
                    for shard in sorted(set(shards_of(index).values())):
                        self.fetch(f"{prefix}{shard}")
                    return
        raise _no_safetensors(self.hub_id, [name for name in self.sizes if name.startswith(prefix)])

    def fetch(self, name: str) -> Path:
        """Downloads one file, unless the cache has it."""
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(self.hub_id, name, revision=self.revision), str):
            size = (self.sizes or {}).get(name)
            if size is None or size >= _WORTH_TELLING_BYTES:
                told = "" if size is None else f", {size / 1e6:,.1f} MB"
                self.progress(f"{self.hub_id}: downloading {name}{told}")
        with _explained(self.hub_id, self.revision):
            return Path(
                hf_hub_download(self.hub_id, name, revision=self.revision, tqdm_class=_silent_bar())
            )


def is_hub_id(path: Path) -> bool:
    """Whether a path that isn't here has the form of an id on the Hub, and of no weight file."""
    is_file = path.suffix in (".safetensors", ".gguf", *PICKLES)
    return not (path.exists() or is_file) and bool(_ID.fullmatch(path.as_posix()))


def open_hub_model(hub_id: str, revision: str | None, progress: Progress) -> HubModel:
    """Finds a Diffusers model on the Hub and downloads its small files.

    Args:
        hub_id: `organisation/name`.
        revision: branch, tag or commit; None takes the main branch.
        progress: called with a line per large file that is downloaded.

    Raises:
        SourceError: there is no such model or revision, it can't be reached, a login is needed, or
            it isn't a Diffusers model.
    """
    model = _pin(hub_id, revision, progress, (MODEL_INDEX,))
    if model.sizes is None:
        return model
    if MODEL_INDEX not in model.sizes:
        raise _no_model(hub_id, list(model.sizes))
    wanted = [MODEL_INDEX, SCHEDULER, *(f"{folder}/{_CONFIG}" for folder in _FOLDERS)]
    wanted += [f"{folder}/{name}" for folder in _TOKENIZERS for name in TOKENIZER_FILES]
    for name in wanted:
        if name in model.sizes:
            model.fetch(name)
    return model


def fetch_part(hub_id: str, folder: str, progress: Progress) -> Path:
    """Downloads one network: a model of its own, or a part of a whole Diffusers model.

    Args:
        hub_id: `organisation/name`.
        folder: what a whole model calls it.
        progress: called with a line per large file that is downloaded.

    Returns:
        The folder with its config and weights.

    Raises:
        SourceError: as `open_hub_model`.
    """
    model = _pin(hub_id, None, progress, (f"{folder}/{_CONFIG}", _CONFIG))
    whole = (model.folder / folder / _CONFIG).is_file()
    if model.sizes is not None:
        whole = f"{folder}/{_CONFIG}" in model.sizes
        inner = folder if whole else ""
        config = f"{folder}/{_CONFIG}" if whole else _CONFIG
        if config not in model.sizes:
            raise SourceError(f"{hub_id} on the Hub holds no {folder}: it has no {config}.")
        model.fetch(config)
        model.fetch_weights(inner)
    return model.folder / folder if whole else model.folder


def _pin(hub_id: str, revision: str | None, progress: Progress, first: tuple[str, ...]) -> HubModel:
    """The model at the commit that a revision stands for now; it has one of the `first` files."""
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    named = revision or constants.DEFAULT_REVISION
    try:
        with _explained(hub_id, revision, but=(HTTPError, OfflineModeIsEnabled)):
            info = HfApi().model_info(
                hub_id, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS
            )
    except (HTTPError, OfflineModeIsEnabled) as e:
        if isinstance(e, HfHubHTTPError):
            raise _explain(hub_id, revision, e) from e
        return _from_cache(hub_id, named, first, progress, e)
    assert info.sha is not None
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    for name in first:
        if name in sizes:
            # By the revision's name, which the cache then knows: it opens without a network, too.
            with _explained(hub_id, revision):
                hf_hub_download(hub_id, name, revision=named, tqdm_class=_silent_bar())
    folder = Path(constants.HF_HUB_CACHE) / _cache_name(hub_id) / "snapshots" / info.sha
    return HubModel(hub_id, info.sha, folder, sizes, progress)


def _cache_name(hub_id: str) -> str:
    return "--".join(("models", *hub_id.split("/")))


def _from_cache(
    hub_id: str, revision: str, first: tuple[str, ...], progress: Progress, cause: Exception
) -> HubModel:
    from huggingface_hub import try_to_load_from_cache

    known = ((name, try_to_load_from_cache(hub_id, name, revision=revision)) for name in first)
    name, found = next(((n, path) for n, path in known if isinstance(path, str)), ("", None))
    if found is None:
        raise SourceError(
            f"{hub_id}: the Hugging Face Hub can't be reached ({type(cause).__name__}), and its "
            f"cache has no such model at revision {revision}; there is no such folder here either."
        ) from cause
    folder = Path(found).parents[name.count("/")]
    progress(f"{hub_id}: the Hub isn't reached; the cache has commit {folder.name}")
    return HubModel(hub_id, folder.name, folder, None, progress)


@contextmanager
def _explained(
    hub_id: str, revision: str | None, but: tuple[type[Exception], ...] = ()
) -> Generator[None]:
    """Says what the Hub's errors mean, in one line each."""
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
    )

    try:
        yield
    except but:
        raise
    except HFValidationError as e:
        raise UsageError(f"{hub_id!r} is neither a folder here nor an id on the Hub.") from e
    except (
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
        OSError,
    ) as e:
        raise _explain(hub_id, revision, e) from e


def _explain(hub_id: str, revision: str | None, error: Exception) -> SourceError:
    from huggingface_hub import errors

    named = "" if revision is None else f" at revision {revision}"
    table: tuple[tuple[type[Exception], str], ...] = (
        (
            errors.GatedRepoError,
            f"{hub_id} is gated: accept its licence on its page on the Hub, then log in with "
            "`hf auth login` or set HF_TOKEN.",
        ),
        (
            errors.RepositoryNotFoundError,
            f"{hub_id}: there is no such folder here and no such model on the Hugging Face Hub, or "
            "it is private: then log in with `hf auth login` or set HF_TOKEN.",
        ),
        (
            errors.RevisionNotFoundError,
            f"{hub_id} has no revision {revision!r} on the Hub; give a branch, tag or commit of "
            "it with --revision, or leave it out.",
        ),
    )
    for kind, message in table:
        if isinstance(error, kind):
            return SourceError(message)
    reason = " ".join(str(error).split()) or type(error).__name__
    return SourceError(
        f"{hub_id}{named} could not be downloaded from the Hub ({reason}). Try again: what has "
        "come already is kept."
    )


def _no_safetensors(hub_id: str, names: list[str]) -> SourceError:
    pickles = sorted(name for name in names if PurePosixPath(name).suffix in PICKLES)
    if pickles:
        return SourceError(
            f"{hub_id} on the Hub holds {pickles[0]} but no safetensors: a pickle can run code "
            "when it is loaded, and is refused. Look for a revision or a copy with safetensors."
        )
    return SourceError(f"{hub_id} on the Hub holds no .safetensors weights.")


def _no_model(hub_id: str, names: list[str]) -> SourceError:
    checkpoints = sorted(name for name in names if name.endswith(".safetensors"))
    if checkpoints:
        return SourceError(
            f"{hub_id} on the Hub is no Diffusers model: it has no {MODEL_INDEX}. It holds "
            f"{', '.join(checkpoints[:3])}: download the file and give its path."
        )
    return _no_safetensors(hub_id, names)


def _silent_bar() -> Any:
    """Our own lines tell of the progress."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
