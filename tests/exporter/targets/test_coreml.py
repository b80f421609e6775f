"""The target Core ML: what it refuses before slow work, its defaults, and what reaches the job."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import exporter.targets.coreml as target
from exporter.compile import compile
from exporter.compile_config import CompileConfig
from exporter.coreml.job import Job
from exporter.coreml.options import CoreMlOptions
from exporter.coreml.resources import MERGES, SCRIPT, VOCABULARY
from exporter.errors import CompileError, StoppedError
from exporter.staging import KEPT_NOTE
from exporter.targets import configured_target
from runtimes.bundle import Bundle, open_bundle
from runtimes.clean_exit import describe
from runtimes.errors import UsageError
from runtimes.manifest import Arithmetic, Component, Graph, Manifest

Named = Callable[[str], Path]
ENTRY = Component(
    graphs={"model": Graph(file="a", inputs=(), outputs=(), weights=(), precision="fp16")}
)


@pytest.fixture(scope="module")
def bundle(exported: Named) -> Bundle:
    return open_bundle(exported("tiny-sd15"))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What would be converted."""
    asked: list[Job] = []

    def convert(job: Job) -> tuple[Component, int | None]:
        asked.append(job)
        return ENTRY, 1_500_000_000

    monkeypatch.setattr(target, "convert", convert)
    return asked


def settled(bundle: Bundle, *, coreml: CoreMlOptions, **given: Any) -> CompileConfig:
    config = CompileConfig("coreml", coreml=coreml, **given)
    return configured_target(config).settle(bundle, config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deployment_target": "iOS71"}, r"unknown deployment target 'iOS71'.*Did you mean 'iOS"),
        ({"attention": "split-einsun"}, r"unknown attention.*Did you mean 'split-einsum'\?"),
        ({"attention": "sdpa"}, r"'sdpa': Core ML has it from iOS18/.* is iOS17/"),
        ({"compression": "palete-6"}, r"unknown compression.*Did you mean 'palette-6'\?"),
        ({"compression": "int4"}, r"weights as int4: .* from iOS18/.* is iOS17/"),
        ({"sizes": ("64x64", "128x64")}, r"several sizes .*--deployment-target iOS18"),
        ({"sizes": ("512",)}, r"'512' is no size"),
        ({"sizes": ("",)}, r"'' is no size"),
        ({"sizes": ("60x64",)}, r"height 60 is not a positive multiple of 8"),
        ({"sizes": ("64x72",)}, r"width 72 is not a .* of 16, which the unet halves without"),
        (
            {"sizes": ("64x64", "60x60"), "deployment_target": "iOS18"},
            r"height 60 is not a positive multiple of 8",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_at_once(
    bundle: Bundle, tmp_path: Path, jobs: list[Job], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compile(bundle.path, tmp_path / "c", target="coreml", coreml=CoreMlOptions(**options))
    assert (list(tmp_path.iterdir()), jobs) == ([], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 64}, "both --height and --width"),
        ({"height": 0, "width": 0}, "height 0 is not a positive multiple of 8"),
        ({"height": 72, "width": 64}, "height 72 .* nearest are 64 and 80"),
        ({"batch": 0}, "batch 0 is not positive"),
        ({"precision": "int8"}, "unknown precision of coreml 'int8'; known are fp16, fp32"),
        ({"layout": "genai"}, "layout 'genai' is OpenVINO GenAI's"),
        (
            {"height": 64, "width": 64, "coreml": CoreMlOptions(sizes=("64x64",))},
            "--sizes, or --height and --width, not both",
        ),
    ],
)
def test_options_of_all_targets_are_checked_first(
    bundle: Bundle, tmp_path: Path, jobs: list[Job], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compile(bundle.path, tmp_path / "c", target="coreml", **options)
    assert (list(tmp_path.iterdir()), jobs) == ([], [])


@pytest.mark.parametrize("other", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"attention": "sdpa"}, "--attention"),
        ({"chunked": True}, "--chunk-unet"),
        ({"sizes": ("",)}, "--sizes"),
        ({"compression": "int8"}, "--compress"),
        ({"deployment_target": "iOS18"}, "--deployment-target"),
    ],
)
def test_other_targets_take_none_of_its_options(
    other: str, options: dict[str, Any], flag: str
) -> None:
    config = CompileConfig(other, coreml=CoreMlOptions(**options))
    with pytest.raises(UsageError, match=f"^{flag} is for --target coreml, not for {other}"):
        configured_target(config)


def test_coremltools_is_asked_for_where_it_is_missing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        target, "find_spec", lambda name: None if name == "coremltools" else found(name)
    )
    with pytest.raises(UsageError, match=r"missing, .*: pip install 'latedge\[coreml\]'$"):
        compile(bundle.path, tmp_path / "c", target="coreml")
    assert list(tmp_path.iterdir()) == []


def test_components_of_other_kinds_are_refused(bundle: Bundle) -> None:
    components = {"safety_checker": bundle.manifest.components["text_encoder"]}
    manifest = msgspec.structs.replace(bundle.manifest, components=components)
    other = Bundle(bundle.path, manifest)
    with pytest.raises(CompileError, match=r"^safety_checker is nothing .* made of text_encoder, "):
        settled(other, coreml=CoreMlOptions())


def test_sizes_are_the_models_own_unless_told(bundle: Bundle) -> None:
    defaults = bundle.manifest.defaults
    config = settled(bundle, coreml=CoreMlOptions())
    assert (config.height, config.width, config.batch) == (defaults.height, defaults.width, 2)
    config = settled(bundle, coreml=CoreMlOptions(sizes=("64x96",)), batch=1)
    assert (config.height, config.width, config.batch) == (64, 96, 1)
    config = settled(bundle, coreml=CoreMlOptions(), height=32, width=48)
    assert (config.height, config.width) == (32, 48)


def test_a_job_has_what_was_settled(bundle: Bundle, tmp_path: Path, jobs: list[Job]) -> None:
    lines: list[str] = []
    options = CoreMlOptions(
        deployment_target="macOS15",
        attention="original",
        compression="palette-6",
        sizes=("64x64", "32x64"),
        chunked=True,
    )
    manifest = compiled(bundle, tmp_path / "c", jobs, lines, coreml=options, max_memory=9 * 10**9)
    by_name = {job.component: job for job in jobs}
    assert list(by_name) == list(bundle.manifest.components)
    unet, vae = by_name["unet"], by_name["vae_decoder"]
    assert unet.sizes == vae.sizes == ((64, 64), (32, 64))
    assert (unet.batch, vae.batch, unet.unet_batch, vae.unet_batch) == (2, 1, 2, 2)
    assert (unet.compression, vae.compression) == ("palette-6", None)
    assert by_name["text_encoder"].compression == "palette-6"
    assert (unet.chunked, vae.chunked, by_name["text_encoder"].chunked) == (True, False, False)
    assert {job.deployment_target for job in jobs} == {"iOS18"}
    assert {job.attention for job in jobs} == {"original"}
    assert {job.max_memory for job in jobs} == {9 * 10**9}
    assert "unet: compiled for coreml, fp16; 1.50 GB at most" in lines
    assert manifest.provenance.options["compile"] == {
        **{"target": "coreml", "precision": "fp16", "height": "64", "width": "64", "batch": "2"},
        **{"deployment-target": "macOS15", "attention": "original", "compress": "palette-6"},
        **{"sizes": "64x64,32x64", "chunk-unet": "True", "arithmetic": "force-fp16"},
    }
    assert "coremltools" in manifest.provenance.tools
    assert (manifest.target, manifest.defaults.height) == ("coreml", 64)
    assert {VOCABULARY, MERGES, SCRIPT} <= manifest.files.keys()


@pytest.mark.parametrize(
    ("precision", "arithmetic", "wanted"),
    [
        ("fp16", None, "fp16"),
        ("fp16", "fp16", "fp16"),
        ("fp16", "fp32", "fp32"),
        ("fp32", None, "fp32"),
    ],
)
def test_what_overflows_halves_is_converted_in_fp32(
    bundle: Bundle,
    tmp_path: Path,
    jobs: list[Job],
    precision: str,
    arithmetic: Any,
    wanted: str,
) -> None:
    config = CompileConfig("coreml")
    compiler = configured_target(config)
    compiler.settle(bundle, config)
    found = None if arithmetic is None else Arithmetic(dtype=arithmetic, reason="range")
    compiler.compile(
        *(bundle, "vae_decoder", tmp_path),
        precision=precision,
        sizes={"batch": 1},
        arithmetic=found,
    )
    (job,) = jobs
    assert (job.precision, job.arithmetic) == (wanted, found)


def test_user_is_told_what_apples_package_makes_of_it(
    bundle: Bundle, tmp_path: Path, jobs: list[Job]
) -> None:
    lines: list[str] = []
    compiled(bundle, tmp_path / "c", jobs, lines, batch=3)
    told = "Apple's Swift package can't run these models: the U-Net has batch 3, and Swift feeds 1"
    assert lines[-1].startswith(told)


def compiled(
    bundle: Bundle, output: Path, jobs: list[Job], lines: list[str], **options: Any
) -> Manifest:
    """Compiles without converting, and without the scan, which needs no Core ML."""
    assert not jobs
    return compile(
        bundle.path,
        output,
        target="coreml",
        arithmetic="force-fp16",
        progress=lines.append,
        **options,
    )


@pytest.mark.parametrize("error", [StoppedError("killed"), KeyboardInterrupt()])
def test_what_was_converted_before_a_stop_is_kept(
    bundle: Bundle,
    tmp_path: Path,
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    convert = target.convert

    def stopped(job: Job) -> tuple[Component, int | None]:
        if job.component == "unet":
            raise error
        return convert(job)

    with monkeypatch.context() as patch:
        patch.setattr(target, "convert", stopped)
        with pytest.raises(type(error)) as raised:
            compiled(bundle, tmp_path / "c", jobs, [])
    assert KEPT_NOTE in describe(raised.value)
    assert not (tmp_path / "c").exists()
    done = [job.component for job in jobs]
    jobs.clear()
    compiled(bundle, tmp_path / "c", jobs, [])
    assert done == ["text_encoder"]
    assert [job.component for job in jobs] == ["unet", "vae_decoder", "vae_encoder"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_what_cannot_be_converted_leaves_nothing(
    bundle: Bundle, tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job: Job) -> tuple[Component, int | None]:
        raise CompileError(f"no {job.component}")

    monkeypatch.setattr(target, "convert", refuse)
    with pytest.raises(CompileError, match=r"^no text_encoder$"):
        compiled(bundle, tmp_path / "c", jobs, [])
    assert list(tmp_path.iterdir()) == []
