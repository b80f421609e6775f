"""The components of a bundle and their tokenizers, loaded when they are used, by name.

Of a component with graphs for several sizes each is loaded by itself, when a call is of its size.

`memory` says for how long: "high" keeps what was loaded, and calls run at once; with "low" each
component is loaded for its own stage and freed after it, and calls queue, so that one component is
loaded at a time. (A preview that is decoded while a call runs loads the VAE decoder beside the
U-Net.)
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

from runtimes.bundle import PLAIN, Bundle
from runtimes.component import Component, Roles, checked_graph
from runtimes.errors import EngineError, unknown_name
from runtimes.process_memory import return_freed_memory
from runtimes.timings import Stopwatch
from runtimes.tokenizer import ClipTokenizer

Memory = Literal["high", "low"]

_UNET = Roles(
    ("sample", "timestep"),
    ("encoder_hidden_states", "class_labels", "timestep_cond", "text_embeds", "time_ids"),
    "out_sample",
)

# Which of its states are read, `runtimes.prompts.encoders` says; some give one layer's alone.
_TEXT_ENCODER = Roles(("input_ids",), (), "last_hidden_state", ("pooler_output", "text_embeds"))

ROLES: dict[str, Roles] = {
    "text_encoder": _TEXT_ENCODER,
    "text_encoder_2": _TEXT_ENCODER,
    "unet": _UNET,
    "unet_refiner": _UNET,
    "vae_decoder": Roles(("latent_sample",), (), "sample"),
    "vae_encoder": Roles(("sample",), (), "latent_parameters", ("latents",)),
}
"""Component → roles."""


class Parts:
    """Components by name; safe for several threads at once.

    Attributes:
        tokenizers: by text encoder.
        memory: how long components stay loaded.
    """

    def __init__(
        self,
        load: Callable[[str, str], Component],
        tokenizers: Mapping[str, ClipTokenizer],
        memory: Memory = "high",
    ):
        """Nothing is loaded yet.

        Args:
            load: loads a component's graph, by the names of both.
            tokenizers: by text encoder.
            memory: how long components stay loaded.
        """
        self.tokenizers = tokenizers
        self.memory = memory
        self._load = load
        self._loaded: dict[tuple[str, str], Component] = {}
        self._uses: Counter[tuple[str, str]] = Counter()
        self._loading = threading.RLock()
        # Reentrant: a preview is decoded within the turn of the call that it shows.
        self._queue: AbstractContextManager[object] = (
            threading.RLock() if memory == "low" else nullcontext()
        )
        self._turns: Counter[int] = Counter()
        self._turn_ended = threading.Condition()
        self._closed = False

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        first: Iterable[str],
        *,
        device: str,
        threads: int | None,
        memory: Memory = "high",
    ) -> Parts:
        """The parts of a compiled bundle.

        Args:
            bundle: where they lie; `first` is loaded for its size.
            first: components that every call takes: checked now, and loaded where they are kept,
                so that what is wrong with them shows now.
            device: as the engine names it.
            threads: threads within an operation; None leaves it to the engine.
            memory: how long components stay loaded.

        Raises:
            BundleError: the bundle lacks one of `first`, or is not compiled.
            EngineError: loading failed.
        """

        def load(name: str, graph: str) -> Component:
            return Component.open(
                bundle, name, ROLES[name], device=device, threads=threads, graph=graph
            )

        for name in first:
            checked_graph(bundle, name, ROLES[name])
        tokenizers = {
            name: ClipTokenizer.open(bundle.path / folder)
            for name, folder in bundle.manifest.tokenizers.items()
        }
        parts = cls(load, tokenizers, memory)
        try:
            for name in first if memory == "high" else ():
                with parts.use(name, graph=bundle.graph_name(name)):
                    pass
        except BaseException:
            parts.close()
            raise
        return parts

    @contextmanager
    def turn(self) -> Generator[None]:
        """The time of one call: with memory "low" it waits until earlier ones are done.

        Raises:
            EngineError: the parts are closed.
        """
        me = threading.get_ident()
        with self._queue:
            with self._turn_ended:
                self.check_open()
                self._turns[me] += 1
            try:
                yield
            finally:
                with self._turn_ended:
                    self._turns[me] -= 1
                    self._turns = +self._turns
                    if self._closed and not self._turns:
                        self._free()
                    self._turn_ended.notify_all()

    @contextmanager
    def use(
        self, name: str, watch: Stopwatch | None = None, *, graph: str = PLAIN
    ) -> Generator[Component]:
        """A component, for as long as the block lasts; loaded if it isn't yet.

        Args:
            name: the component.
            watch: takes the time that loading takes.
            graph: the name of its graph.

        Raises:
            BundleError: the bundle lacks it.
            EngineError: loading failed, or the parts are closed.
        """
        with self.turn():
            component = self._take((name, graph), watch)
            try:
                yield component
            finally:
                self._give_back((name, graph))

    def check_open(self) -> None:
        """To be asked between the steps of a call, which then ends before the last one.

        Raises:
            EngineError: the parts are closed.
        """
        if self._closed:
            raise EngineError("the pipeline is closed; open the bundle again.")

    def close(self) -> None:
        """Frees all engines once the calls that run have noticed, each at its next step.

        Closed from within a call (its callback), the call's end frees them.
        """
        with self._turn_ended:
            self._closed = True
            if threading.get_ident() in self._turns:
                return
            self._turn_ended.wait_for(lambda: not self._turns)
            self._free()

    def _take(self, part: tuple[str, str], watch: Stopwatch | None) -> Component:
        with self._loading:
            if part not in self._loaded:
                with watch.load(part[0]) if watch is not None else nullcontext():
                    self._loaded[part] = self._load(*part)
            self._uses[part] += 1
            return self._loaded[part]

    def _give_back(self, part: tuple[str, str]) -> None:
        with self._loading:
            self._uses[part] -= 1
            if self.memory == "low" and not self._uses[part]:
                self._loaded.pop(part).engine.close()
                return_freed_memory()

    def _free(self) -> None:
        if self._loaded:
            for component in self._loaded.values():
                component.engine.close()
            self._loaded.clear()
            return_freed_memory()


def loaded_parts(tokenizers: Mapping[str, ClipTokenizer], components: Iterable[Component]) -> Parts:
    """Parts that are loaded already: tokenizers by text encoder, and components."""
    by_name = {component.name: component for component in components}
    return Parts(lambda name, graph: by_name[name], tokenizers)


def check_memory(name: str) -> Memory:
    """A name of `Memory`.

    Raises:
        UsageError: unknown; lists the known ones and the closest.
    """
    for known in get_args(Memory):
        if name == known:
            return known
    raise unknown_name("memory", name, get_args(Memory))
