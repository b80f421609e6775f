"""`python -m benchmarks.bench.torch_subject BUNDLE …`: a bundle's networks in torch, measured.

Tokenizer, sampler and guidance are those of latedge's own runtime, as for the bundle itself: only
what runs the networks differs. Each is rebuilt in float32 from the bundle's recipe and its
canonical weights, or with the weights of a Diffusers folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench.protocol import Opened, serve
from benchmarks.bench.worker import BundleSubject, describe
from runtimes.errors import BundleError, EngineError, UsageError

if TYPE_CHECKING:
    from exporter.prepare import Prepared
    from runtimes.bundle import Bundle
    from runtimes.engine import Array
    from runtimes.manifest import Graph, Port
    from runtimes.pipeline import Pipeline

NETWORKS = {
    "text_encoder": "last_hidden_state",
    "unet": "out_sample",
    "vae_decoder": "sample",
}
"""What a picture from text takes: component → the output that is read."""


def weights_bundle(bundles: Sequence[Bundle], source: Path | None) -> Bundle:
    """The bundle whose networks torch can run.

    Args:
        bundles: the first that holds float weights of all networks is taken.
        source: a Diffusers folder that has the weights; the first bundle is taken then.

    Raises:
        UsageError: no bundle holds them, and there is no source.
    """
    able = [bundle for bundle in bundles if source is not None or _has_weights(bundle)]
    if able:
        return able[0]
    given = ", ".join(str(bundle.path) for bundle in bundles)
    raise UsageError(
        f"{given}: weights in the engine's form alone, which torch doesn't read. Give the "
        "Diffusers folder that it was made from with --source, or a bundle for onnxruntime of the "
        "same model."
    )


def _has_weights(bundle: Bundle) -> bool:
    found = [bundle.manifest.components.get(name) for name in NETWORKS]
    return all(component is not None and component.recipe is not None for component in found)


class TorchEngine:
    """A network in torch, as an engine of the runtime.

    Args:
        item: the component with its weights.
        built: the bundle's graph; where that was built for a batch, this one takes as many.
        compiled: run it through `torch.compile`.

    Attributes:
        graph: as the pipeline feeds and reads it: float32, with the component's own names.
        device: always "cpu".
        version: of torch.
    """

    def __init__(self, item: Prepared, built: Graph, *, compiled: bool) -> None:
        import torch

        from exporter.reference import load_network
        from runtimes.batching import built_batch
        from runtimes.manifest import Graph

        component, config = item.component, item.config
        batch = built_batch(built)
        self.graph = Graph(
            file=built.file,
            inputs=_for_batch(component.inputs(config), batch),
            outputs=component.outputs(config),
            weights=(),
            precision="fp32",
        )
        self.device = "cpu"
        self.version = f"torch {torch.__version__.partition('+')[0]}"
        network = component.wrap(load_network(component, config, item.weights), config).eval()
        self._run: Callable[..., Any] | None = torch.compile(network) if compiled else network

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the network; see `runtimes.engine.Engine`."""
        import numpy as np
        import torch

        if self._run is None:
            raise EngineError(f"{self.graph.file}: the engine is closed.")
        tensors = [torch.from_numpy(np.asarray(feeds[port.name])) for port in self.graph.inputs]
        # Not inference_mode: what torch.compile guards on would change with it.
        with torch.no_grad():
            results = self._run(*tensors)
        found = results if isinstance(results, tuple) else (results,)
        names = [port.name for port in self.graph.outputs]
        named = dict(zip(names, found, strict=True))
        return {name: named[name].numpy() for name in outputs or names}

    def close(self) -> None:
        """Frees the network."""
        self._run = None


def _for_batch(ports: Sequence[Port], batch: int | None) -> tuple[Port, ...]:
    """Ports with a fixed first axis, where there is a batch."""
    import msgspec

    if batch is None:
        return tuple(ports)
    return tuple(
        msgspec.structs.replace(port, shape=(batch, *port.shape[1:]))
        if port.shape[0] == "batch"
        else port
        for port in ports
    )


def open_torch(bundle: Bundle, source: Path | None, *, compiled: bool) -> Pipeline:
    """Opens a bundle's networks in torch under latedge's own runtime.

    Args:
        bundle: what is rebuilt; its tokenizer, scheduler and defaults are taken.
        source: a Diffusers folder with the weights; None takes the bundle's own.
        compiled: run the networks through `torch.compile`.

    Raises:
        BundleError: the bundle can't draw from text, or holds no weights that torch reads.
        SourceError, WeightError: the source is refused, or is another model.
    """
    from exporter.verify import references
    from runtimes.abilities import check_able
    from runtimes.component import Component
    from runtimes.metadata import Origin
    from runtimes.parts import loaded_parts
    from runtimes.pipeline import Pipeline
    from runtimes.tokenizer import ClipTokenizer
    from runtimes.version import VERSION

    check_able(bundle)
    if source is None and not _has_weights(bundle):
        raise BundleError(
            f"{bundle.path} holds its weights in the engine's form alone; give the Diffusers "
            "folder that it was made from: --source."
        )
    prepared = references(bundle, source)

    def load(name: str, output: str) -> Component:
        engine = TorchEngine(prepared.pop(name), bundle.graph(name), compiled=compiled)
        inputs = {port.role: port for port in engine.graph.inputs}
        outputs = {port.role: port for port in engine.graph.outputs}
        return Component(name, engine, inputs, outputs[output])

    components = {name: load(name, output) for name, output in NETWORKS.items()}
    origin = Origin(
        bundle_sha256=bundle.sha256,
        engine=components["unet"].engine.version + (", compiled" if compiled else ""),
        device="cpu",
        threads=None,
        latedge_version=VERSION,
    )
    tokenizer = ClipTokenizer.open(bundle.path / bundle.manifest.tokenizers["text_encoder"])
    return Pipeline(bundle, loaded_parts({"text_encoder": tokenizer}, components.values()), origin)


class TorchSubject(BundleSubject):
    """A bundle's networks in torch.

    Args:
        path: the bundle.
        source: a Diffusers folder with the weights, or None.
        threads: within an operation; None leaves it to torch.
        compiled: run the networks through `torch.compile`.
    """

    def __init__(
        self, path: Path, source: Path | None, threads: int | None, *, compiled: bool
    ) -> None:
        super().__init__(path, "cpu", threads)
        self._source, self._compiled = source, compiled

    def open(self) -> Opened:
        """Rebuilds the networks; `torch.compile` compiles at the first picture."""
        import torch

        from runtimes.bundle import open_bundle

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        bundle = open_bundle(self._path)
        self._pipeline = open_torch(bundle, self._source, compiled=self._compiled)
        return Opened(
            engine=self._pipeline.origin.engine,
            device="cpu",
            precision="fp32",
            threads=torch.get_num_threads(),
        )


def main() -> None:
    """Reads what to open from the command line and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(sys.argv[1:])
    subject = TorchSubject(given.bundle, given.source, given.threads, compiled=given.compile)
    serve(subject, describe=describe)


if __name__ == "__main__":
    main()
