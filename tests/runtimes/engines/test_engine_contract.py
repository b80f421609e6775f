"""What the runtime may rely on in every engine.

Core ML runs on macOS alone: elsewhere its tests are skipped, and the same packages go through the
reference executor, a device of the same name in the table of engines.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtimes.engine import ENGINES, Array, Engine, load_engine_class
from runtimes.engines.sdk import first_line, import_sdk
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Graph
from tests.runtimes.engines.engine_models import (
    INPUTS,
    OUTPUTS,
    Floats,
    Model,
    feeds,
    ports,
    write_bundle,
)

# Sums of 37 and of 6 products of numbers near 1 in float32, in another order than NumPy's.
ATOL = 2e-5

MODEL = Model.random()


REFERENCE = "reference"
NEEDS_A_MAC = pytest.mark.skipif(
    platform.system() != "Darwin", reason="Core ML runs on macOS alone"
)
SUBJECTS = [
    *(
        pytest.param((name, "cpu"), id=name, marks=[NEEDS_A_MAC] if name == "coreml" else [])
        for name in sorted(ENGINES)
    ),
    pytest.param(("coreml", REFERENCE), id="coreml reference"),
]
VERSIONS = {
    "coreml": r"coreml of macOS \d+\.\d+(\.\d+)?, coremltools \d+\.\d+",
    REFERENCE: "latedge MIL reference",
}


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An engine's name and a device that every machine has."""
    return request.param


@pytest.fixture(scope="module")
def engine_name(subject: tuple[str, str]) -> str:
    return subject[0]


@pytest.fixture(scope="module")
def device(subject: tuple[str, str]) -> str:
    return subject[1]


@pytest.fixture
def sdk_name(subject: tuple[str, str]) -> str:
    """The package that the engine drives."""
    name, device = subject
    if device == REFERENCE:
        pytest.skip("the reference executor is the runtime's own")
    return {"coreml": "coremltools"}.get(name, name)


@pytest.fixture
def any_size(engine_name: str) -> None:
    if engine_name == "coreml":
        pytest.skip("Core ML's packages have fixed sizes")


@pytest.fixture(scope="module")
def bundle(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    folder = tmp_path_factory.mktemp(engine_name) / "bundle"
    return folder, write_bundle(folder, engine_name, MODEL)


@pytest.fixture(scope="module")
def engine(engine_name: str, device: str, bundle: tuple[Path, Graph]) -> Iterator[Engine]:
    engine = load_engine_class(engine_name)(*bundle, device=device.upper(), threads=1)
    yield engine
    engine.close()


@pytest.fixture
def private(engine_name: str, tmp_path: Path) -> tuple[Path, Graph]:
    """A bundle that the test may break."""
    return tmp_path / "private", write_bundle(tmp_path / "private", engine_name, MODEL)


Load = Callable[[tuple[Path, Graph]], Engine]


@pytest.fixture
def load(engine_name: str, device: str) -> Load:
    return lambda bundle: load_engine_class(engine_name)(*bundle, device=device, threads=1)


def assert_equal(found: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, array in found.items():
        assert array.dtype == np.float32
        difference = array.astype(np.float64) - expected[name].astype(np.float64)
        np.testing.assert_allclose(difference, 0, rtol=0, atol=ATOL, err_msg=name)


def test_results_equal_numpys(engine: Engine) -> None:
    found = engine(feeds())
    assert list(found) == list(OUTPUTS)
    assert_equal(found, MODEL(feeds()))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 5, 7), (3, 5, 7), (2, 1, 9), (2, 8, 8)])
def test_symbolic_axes_take_any_size(
    any_size: None, engine: Engine, batch: int, height: int, width: int
) -> None:
    fed = feeds(batch, height, width, seed=batch)
    assert_equal(engine(fed), MODEL(fed))


def test_outputs_can_be_chosen(engine: Engine) -> None:
    for wanted in (["projected"], ["echo", "out_sample"]):
        found = engine(feeds(), wanted)
        assert list(found) == wanted
        assert_equal(found, MODEL(feeds()))
    assert engine(feeds(), []) == {}


def test_a_later_call_does_not_change_earlier_results(engine: Engine) -> None:
    first = engine(feeds(seed=1))
    kept = {name: array.copy() for name, array in first.items()}
    engine(feeds(seed=2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)


def test_results_may_be_written_to(engine: Engine) -> None:
    fed = feeds()
    for array in engine(fed).values():
        array[...] = np.nan
    assert_equal(engine(fed), MODEL(feeds()))
    for name, array in fed.items():
        np.testing.assert_array_equal(array, feeds()[name], err_msg=name)


def test_feeds_may_be_read_only_or_strided(engine: Engine) -> None:
    fed = feeds()
    wide = np.zeros((*fed["sample"].shape[:-1], 2 * fed["sample"].shape[-1]), np.float32)
    wide[..., ::2] = fed["sample"]
    fed["sample"] = wide[..., ::2]
    fed["context"] = np.asfortranarray(fed["context"])
    for array in fed.values():
        array.flags.writeable = False
    assert_equal(engine(fed), MODEL(feeds()))


def test_the_same_feeds_give_the_same_bits(engine: Engine) -> None:
    first, second = engine(feeds()), engine(feeds())
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_threads_at_once_get_their_own_results(engine: Engine, engine_name: str) -> None:
    fixed = engine_name == "coreml"
    fed = [feeds(batch=2 if fixed else 1 + i % 3, seed=10 + i) for i in range(4)]
    wrong: list[str] = []
    start = threading.Barrier(len(fed))

    def work(mine: dict[str, Floats]) -> None:
        expected = MODEL(mine)
        start.wait()
        for _ in range(40):
            for name, array in engine(mine).items():
                difference = array.astype(np.float64) - expected[name].astype(np.float64)
                if not np.abs(difference).max() <= ATOL:
                    wrong.append(name)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in fed]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_an_engine_says_what_it_is(
    engine: Engine, engine_name: str, device: str, bundle: object
) -> None:
    assert engine.device == device
    own = VERSIONS.get(engine_name, rf"{engine_name} \d+\.\d+\.\d+")
    assert re.fullmatch(VERSIONS.get(device, own), engine.version)
    assert isinstance(bundle, tuple)
    assert engine.graph is bundle[1]


@pytest.mark.parametrize("threads", [None, 2])
def test_the_count_of_threads_changes_nothing(
    engine_name: str, device: str, bundle: tuple[Path, Graph], threads: int | None
) -> None:
    engine = load_engine_class(engine_name)(*bundle, device=device, threads=threads)
    assert_equal(engine(feeds()), MODEL(feeds()))
    engine.close()


def test_no_threads_are_refused(engine_name: str, device: str, bundle: tuple[Path, Graph]) -> None:
    with pytest.raises(UsageError, match=r"^threads must be a whole number from 1, not 0\.$"):
        load_engine_class(engine_name)(*bundle, device=device, threads=0)


def test_a_closed_engine_refuses_calls(load: Load, bundle: tuple[Path, Graph]) -> None:
    engine = load(bundle)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=r"unet/.* is closed\. Open the bundle again\."):
        engine(feeds())


def _without(name: str) -> Callable[[dict[str, Array]], object]:
    return lambda fed: fed.pop(name)


def _with(name: str, change: Callable[[Array], Array]) -> Callable[[dict[str, Array]], object]:
    return lambda fed: fed.update({name: change(fed[name])})


WRONG_FEEDS: dict[str, tuple[Callable[[dict[str, Array]], object], str]] = {
    "missing": (
        _without("timestep"),
        "takes inputs sample, timestep, context, given were context, sample.",
    ),
    "none": (lambda fed: fed.clear(), "takes inputs sample, timestep, context, given were none."),
    "unknown": (
        lambda fed: fed.update(mask=fed["sample"]),
        "takes inputs sample, timestep, context, given were context, mask, sample, timestep.",
    ),
    "dtype": (
        _with("context", lambda a: a.astype(np.float64)),
        ": input context is float32, given was float64.",
    ),
    "byte order": (
        _with("context", lambda a: a.astype(">f4")),
        ": input context is float32, given was float32 of the other byte order.",
    ),
    "fixed axis": (
        _with("sample", lambda a: a[:, :3]),
        ": input sample has shape [batch, 4, height, width], given was [2, 3, 5, 7].",
    ),
    "rank": (
        _with("timestep", lambda a: a.reshape(())),
        ": input timestep has shape [1], given was [].",
    ),
    "empty": (
        _with("sample", lambda a: a[:, :, :0]),
        ": input sample has shape [batch, 4, height, width], given was [2, 4, 0, 7].",
    ),
    "symbolic axis": (
        _with("context", lambda a: a[:1]),
        ": axis 'batch' is 2 in input sample, but 1 in context.",
    ),
}


@pytest.mark.parametrize("case", WRONG_FEEDS)
def test_wrong_feeds_are_named(engine: Engine, engine_name: str, case: str) -> None:
    spoil, message = WRONG_FEEDS[case]
    if engine_name == "coreml":
        message = message.replace("[batch, 4, height, width]", "[2, 4, 5, 7]")
        if case == "symbolic axis":
            message = ": input context has shape [2, 6], given was [1, 6]."
    fed: dict[str, Array] = dict(feeds())
    spoil(fed)
    with pytest.raises(EngineError, match=f"^{re.escape(engine.graph.file)} ?{re.escape(message)}"):
        engine(fed)


def test_an_unknown_output_is_named(engine: Engine) -> None:
    with pytest.raises(
        EngineError, match=r"has no output 'eps' \(it has: out_sample, projected, echo\)\.$"
    ):
        engine(feeds(), ["echo", "eps"])


def test_an_unknown_device_is_refused_with_the_closest(
    engine_name: str, bundle: tuple[Path, Graph]
) -> None:
    with pytest.raises(
        UsageError, match=r"^unknown device 'cpuu'; known are .*cpu.* Did you mean 'cpu'\?$"
    ):
        load_engine_class(engine_name)(*bundle, device="cpuu", threads=None)


def one_line(error: pytest.ExceptionInfo[EngineError], capfd: pytest.CaptureFixture[str]) -> str:
    """The message, once nothing but it was said."""
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"garbage " * 100, b"<?xml version='1.0'?>\n<net "])
def test_a_broken_graph_ends_in_one_line(
    load: Load,
    private: tuple[Path, Graph],
    content: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, graph = private
    (folder / graph.file).write_bytes(content)
    with pytest.raises(EngineError) as error:
        load(private)
    assert re.match(rf"{graph.file} can't be loaded.*: \w", one_line(error, capfd))


def test_a_truncated_graph_ends_in_one_line(
    load: Load, private: tuple[Path, Graph], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, graph = private
    whole = (folder / graph.file).read_bytes()
    (folder / graph.file).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(EngineError) as error:
        load(private)
    assert re.match(rf"{graph.file} can't be loaded.*: \w", one_line(error, capfd))


def test_truncated_weights_end_in_one_line(
    load: Load, private: tuple[Path, Graph], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, graph = private
    whole = (folder / graph.weights[0]).read_bytes()
    (folder / graph.weights[0]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineError) as error:
        load(private)
    assert re.match(rf"{graph.file} can't be loaded.*: \w", one_line(error, capfd))


@pytest.mark.parametrize("which", ["graph", "weights"])
def test_a_missing_file_is_named(load: Load, private: tuple[Path, Graph], which: str) -> None:
    folder, graph = private
    path = folder / (graph.file if which == "graph" else graph.weights[0])
    path.unlink()
    with pytest.raises(EngineError, match=rf"^{re.escape(str(path))} is missing\. Make the bundle"):
        load(private)


def test_a_graph_with_other_inputs_than_the_manifest_says(
    load: Load, bundle: tuple[Path, Graph]
) -> None:
    folder, graph = bundle
    other = msgspec.structs.replace(graph, inputs=ports({"x": INPUTS["sample"]}))
    with pytest.raises(
        EngineError, match=r"has inputs context, sample, timestep, where the manifest says x\. Make"
    ):
        load((folder, other))
    other = msgspec.structs.replace(graph, outputs=graph.outputs[:1])
    with pytest.raises(
        EngineError, match=r"has outputs echo, out_sample, projected, .* says out_sample\. Make"
    ):
        load((folder, other))


def test_an_sdk_that_is_not_installed(
    sdk_name: str,
    engine_name: str,
    load: Load,
    bundle: tuple[Path, Graph],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, sdk_name, None)
    command = re.escape(f'pip install "latedge[{engine_name}]"')
    with pytest.raises(EngineError, match=f"^{sdk_name} is not installed. Install it: {command}"):
        load(bundle)


def test_an_sdk_that_can_not_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_sdk.py").write_text("raise ImportError('libfoo.so: no such file')")
    with pytest.raises(EngineError, match=r"^broken_sdk is installed, but .*: libfoo\.so: no such"):
        import_sdk("broken_sdk", "sdk")
    (tmp_path / "needy_sdk.py").write_text("import a_module_that_nobody_has")
    with pytest.raises(EngineError, match=r"^needy_sdk can't be .*: it needs a_module_that_nobody"):
        import_sdk("needy_sdk", "sdk")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf parsing failed.\nMore",
            "Protobuf p",
        ),
        (
            "Exception from src/inference/src/cpp/core.cpp:132:\n"
            "Check 'res.status' failed at src/frontends/ir/src/input_model.cpp:219:\n"
            "Error parsing start element\n\n",
            "Error parsing start element",
        ),
        ("Exception from src/core.cpp:1:\n", "Exception from src/core.cpp:1:"),
        ("", "RuntimeError"),
        ("x" * 999, "x" * 299 + "…"),
    ],
)
def test_an_sdks_error_is_told_in_one_line(text: str, told: str) -> None:
    found = first_line(RuntimeError(text))
    assert found.startswith(told)
    assert len(found) <= 300
    assert "\n" not in found


def test_the_sdk_is_imported_when_an_engine_is_made(
    sdk_name: str, engine_name: str, bundle: tuple[Path, Graph]
) -> None:
    module, _, name = ENGINES[engine_name].partition(":")
    code = (
        "import sys, msgspec\n"
        "from pathlib import Path\n"
        "from runtimes.manifest import Graph\n"
        f"from {module} import {name}\n"
        f"print({sdk_name!r} in sys.modules)\n"
        "graph = msgspec.json.decode(sys.argv[2], type=Graph)\n"
        f"{name}(Path(sys.argv[1]), graph, device='cpu', threads=1)\n"
        f"print({sdk_name!r} in sys.modules)\n"
    )
    arguments = [str(bundle[0]), msgspec.json.encode(bundle[1]).decode()]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.stdout.split() == ["False", "True"]
    assert done.stderr == ""
