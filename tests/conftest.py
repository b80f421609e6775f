"""Fixtures that more than one test file uses, and the machine's resources per test process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from runtimes.bundle import Bundle
    from runtimes.pipeline import Pipeline

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before numpy and torch are imported: workers that each start a thread per core get in each
    # other's way.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

# The same examples in every run, and no deadline: CI's machine is shared. To search for new
# counterexamples: HYPOTHESIS_PROFILE=search pytest …
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def latedge_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this run's own, so that no test reads or fills the user's."""
    folder = tmp_path_factory.mktemp("latedge-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATEDGE_CACHE", str(folder))
        yield folder


Once = Callable[[str, Callable[[Path], object]], Path]
Synthesize = Callable[[str], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder of a name once per run, whichever worker asks first; never write into it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, build: Callable[[Path], object]) -> Path:
        folder = shared / "once" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                build(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def synthesized(once: Once) -> Synthesize:
    """Makes a synthetic model by its name."""
    from benchmarks.synthetic import synthesize

    return lambda name: once(f"synthetic-{name}", lambda folder: synthesize(name, folder))


@pytest.fixture(scope="session")
def exported(once: Once, synthesized: Synthesize) -> Synthesize:
    """Gives the verified portable bundle of a synthetic model, by the model's name."""
    from exporter.export import export

    return lambda name: once(f"exported-{name}", lambda folder: export(synthesized(name), folder))


@pytest.fixture(scope="session")
def portable(once: Once, synthesized: Synthesize) -> Synthesize:
    """Gives the portable bundle of a synthetic model, by its name; nothing of it is verified."""
    from exporter.export import export

    return lambda name: once(
        f"unverified-{name}", lambda folder: export(synthesized(name), folder, verify="none")
    )


@pytest.fixture(scope="session")
def drawing(once: Once, portable: Synthesize) -> Iterator[Callable[[str], Pipeline]]:
    """Opens a synthetic model, compiled for ONNX Runtime, by the model's name.

    Its components aren't verified one by one: whole pictures are compared.
    """
    from exporter.compile import compile
    from runtimes.pipeline import Pipeline

    pipes: dict[str, Pipeline] = {}

    def opened(name: str) -> Pipeline:
        if name not in pipes:
            compiled = once(
                f"drawing-{name}",
                lambda folder: compile(portable(name), folder, target="onnxruntime"),
            )
            pipes[name] = Pipeline.open(compiled, threads=1)
        return pipes[name]

    yield opened
    for pipe in pipes.values():
        pipe.close()


@pytest.fixture(scope="session")
def reference(synthesized: Synthesize) -> Callable[[str, Any], Any]:
    """diffusers' pipeline over a synthetic model, by the model's name and the pipeline's class."""
    from tests.parity import reference_of

    pipes: dict[tuple[str, Any], Any] = {}

    def made(name: str, pipeline: Any) -> Any:
        if (name, pipeline) not in pipes:
            pipes[name, pipeline] = reference_of(pipeline, synthesized(name))
        return pipes[name, pipeline]

    return made


@pytest.fixture(scope="session")
def tiny_sd15(synthesized: Synthesize) -> Path:
    """A Diffusers folder with the parts of SD 1.5, few and narrow: epsilon, fp16 weights."""
    return synthesized("tiny-sd15")


@pytest.fixture(scope="session")
def tiny_sd21(synthesized: Synthesize) -> Path:
    """A Diffusers folder with the parts of SD 2.1: v-prediction, linear projections."""
    return synthesized("tiny-sd21")


@pytest.fixture(scope="session")
def tiny_sd15_inpaint(synthesized: Synthesize) -> Path:
    """A Diffusers folder with the parts of SD 1.5 inpainting: a U-Net of nine input channels."""
    return synthesized("tiny-sd15-inpaint")


@pytest.fixture(scope="session")
def tiny_taesd(once: Once) -> Path:
    """The folder of an `AutoencoderTiny` alone, few and narrow layers with random weights."""
    from tests.autoencoder_folders import write_taesd

    return once("tiny-taesd", write_taesd)


@pytest.fixture(scope="session")
def tiny_sd15_vq(once: Once, tiny_sd15: Path) -> Path:
    """A Diffusers folder with the parts of SD 1.5 and a `VQModel` as VAE."""
    from tests.autoencoder_folders import with_vae, write_vq

    vae = once("tiny-vq", write_vq)
    return once("tiny-sd15-vq", lambda folder: with_vae(tiny_sd15, vae, folder))


@pytest.fixture(scope="session")
def shapes_model() -> Path:
    """The trained model that ships: 64×64 pictures of one or two objects."""
    return REPOSITORY / "benchmarks" / "shapes" / "model"


@pytest.fixture(scope="session")
def shapes_bundle(once: Once, shapes_model: Path) -> Path:
    """The portable bundle of the trained model, verified down to a whole picture."""
    from exporter.export import export

    return once("shapes", lambda folder: export(shapes_model, folder, verify="image"))


@pytest.fixture(scope="session")
def tiny_clip(once: Once) -> Path:
    """The folder of a CLIP, both encoders, few and narrow, with random weights."""
    from tests.exporter.clip_folders import write_clip

    return once("tiny-clip", write_clip)


@pytest.fixture(scope="session")
def portable_clip(once: Once, tiny_clip: Path) -> Bundle:
    """The tiny CLIP in its portable form."""
    import msgspec

    from exporter.clip import export_clip
    from exporter.progress import silent
    from exporter.sources.clip_folder import open_clip_folder
    from runtimes.bundle import Bundle
    from runtimes.manifest import Manifest, encode_manifest

    def build(folder: Path) -> None:
        folder.mkdir()
        manifest = export_clip(open_clip_folder(tiny_clip), folder, silent).manifest
        (folder / "manifest.json").write_bytes(encode_manifest(manifest))

    folder = once("tiny-clip-portable", build)
    raw = (folder / "manifest.json").read_bytes()
    return Bundle(folder, msgspec.json.decode(raw, type=Manifest))
