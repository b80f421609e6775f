"""The components of a bundle and their tokenizers, loaded once and used by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager

from runtimes.bundle import Bundle
from runtimes.component import Component, Roles
from runtimes.errors import EngineError
from runtimes.tokenizer import ClipTokenizer

ROLES: dict[str, Roles] = {
    "text_encoder": Roles(("input_ids",), (), "last_hidden_state"),
    "unet": Roles(
        ("sample", "timestep", "encoder_hidden_states"),
        ("class_labels", "timestep_cond"),
        "out_sample",
    ),
    "vae_decoder": Roles(("latent_sample",), (), "sample"),
    "vae_encoder": Roles(("sample",), (), "latent_parameters", ("latents",)),
}
"""Component → roles."""


class Parts:
    """Components by name, each loaded when it is first used and kept until `close`.

    Safe for several threads at once.
    """

    def __init__(self, load: Callable[[str], Component], tokenizers: Mapping[str, ClipTokenizer]):
        """Nothing is loaded yet.

        Args:
            load: loads a component.
            tokenizers: by text encoder.
        """
        self.tokenizers = tokenizers
        self._load = load
        self._loaded: dict[str, Component] = {}
        self._lock = threading.RLock()
        self._closed = False

    @classmethod
    def open(
        cls, bundle: Bundle, first: Iterable[str], *, device: str, threads: int | None
    ) -> Parts:
        """The parts of a compiled bundle.

        Args:
            bundle: where they lie.
            first: components that are loaded now, so that what is wrong with them shows now.
            device: as the engine names it.
            threads: threads within an operation; None leaves it to the engine.

        Raises:
            BundleError: the bundle lacks one of `first`, or is not compiled.
            EngineError: loading failed.
        """

        def load(name: str) -> Component:
            return Component.open(bundle, name, ROLES[name], device=device, threads=threads)

        tokenizers = {
            name: ClipTokenizer.open(bundle.path / folder)
            for name, folder in bundle.manifest.tokenizers.items()
        }
        parts = cls(load, tokenizers)
        try:
            for name in first:
                with parts.use(name):
                    pass
        except BaseException:
            parts.close()
            raise
        return parts

    @contextmanager
    def use(self, name: str) -> Generator[Component]:
        """A component, for as long as the block lasts; loaded if it isn't yet.

        Raises:
            BundleError: the bundle lacks it.
            EngineError: loading failed, or the parts are closed.
        """
        with self._lock:
            if self._closed:
                raise EngineError("the pipeline is closed; open the bundle again.")
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            component = self._loaded[name]
        yield component

    def close(self) -> None:
        """Frees all engines."""
        with self._lock:
            self._closed = True
            for component in self._loaded.values():
                component.engine.close()
            self._loaded.clear()


def loaded_parts(tokenizer: ClipTokenizer, components: Iterable[Component]) -> Parts:
    """Parts that are loaded already: components of a text-to-image pipeline."""
    by_name = {component.name: component for component in components}
    return Parts(by_name.__getitem__, {"text_encoder": tokenizer})
