"""Models on the Hub, against a stand-in for it on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from exporter.errors import SourceError
from exporter.export import export
from exporter.hub import is_hub_id
from exporter.prepare import prepare
from exporter.source import Source, SourceOptions, open_source
from runtimes.errors import UsageError
from tests.exporter.stand_in_hub import BRANCH_COMMIT, COMMIT, StandIn, stand_in_hub

Named = Callable[[str], Path]
ID = "maker/tiny"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, tiny_sd15: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A hub with one model, an empty cache, and a working folder without such a folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    folder = Path(shutil.copytree(tiny_sd15, tmp_path / "remote"))
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("a card")
    with stand_in_hub() as state:
        state.models[ID] = folder
        # What HF_ENDPOINT and HF_HOME set where they are there before the library is imported.
        template = state.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", state.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield state


def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.utils._http.constants.HF_HUB_OFFLINE", True)


def test_only_what_is_needed_is_downloaded(hub: StandIn) -> None:
    lines: list[str] = []
    source = open_source(ID, progress=lines.append)
    assert not any(name.endswith(".safetensors") for name in hub.asked)
    prepare(source, ("unet",))
    assert [name for name in hub.asked if name.endswith(".safetensors")] == [WEIGHTS]
    assert not any(name.endswith((".bin", ".md")) for name in hub.asked)
    assert any(line.startswith(f"{ID}: downloading {WEIGHTS}, ") for line in lines)
    before = list(hub.asked)
    prepare(open_source(ID), ("unet",))
    assert hub.asked == before, "the cache is used"


def test_bundle_is_the_folders_and_notes_the_commit(
    hub: StandIn, tiny_sd15: Path, tmp_path: Path
) -> None:
    parts = ("text_encoder",)
    found = export(ID, tmp_path / "hub", components=parts, verify="none")
    expected = export(tiny_sd15, tmp_path / "folder", components=parts, verify="none")
    assert found.files == expected.files
    origin = found.provenance
    assert (origin.source_kind, origin.hub_id, origin.revision) == ("hub", ID, COMMIT)
    assert origin.source_sha256 == expected.provenance.source_sha256
    assert expected.provenance.hub_id is None


def test_revision_is_pinned(hub: StandIn) -> None:
    assert open_source(ID, SourceOptions(revision="fp16")).origin.revision == BRANCH_COMMIT
    assert open_source(ID, SourceOptions(revision=COMMIT)).origin.revision == COMMIT


def test_unsuffixed_weights_come_before_fp16(hub: StandIn) -> None:
    unet = hub.models[ID] / "unet"
    weights = unet / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, unet / "diffusion_pytorch_model.fp16.safetensors")
    prepare(open_source(ID), ("unet",))
    assert [name for name in hub.asked if name.endswith(".safetensors")] == [WEIGHTS]


def test_fp16_weights_are_taken_where_there_are_no_others(hub: StandIn) -> None:
    unet = hub.models[ID] / "unet"
    fp16 = unet / "diffusion_pytorch_model.fp16.safetensors"
    (unet / "diffusion_pytorch_model.safetensors").rename(fp16)
    prepare(open_source(ID), ("unet",))
    assert hub.asked.count("unet/diffusion_pytorch_model.fp16.safetensors") == 1


def test_shards_are_downloaded(hub: StandIn, tmp_path: Path) -> None:
    from benchmarks.synthetic import synthesize

    hub.models["maker/sharded"] = synthesize("tiny-sd15", tmp_path / "sharded", shards=2)
    prepare(open_source("maker/sharded"), ("unet",))
    shards = [name for name in hub.asked if name.endswith("-of-00002.safetensors")]
    assert len(shards) == 2


def test_vae_comes_from_the_hub(hub: StandIn, tiny_sd15: Path, tmp_path: Path) -> None:
    hub.models["maker/vae"] = tiny_sd15 / "vae"
    for place in ("maker/vae", ID):
        source = open_source(tiny_sd15, SourceOptions(vae=Path(place)))
        found = prepare(source, ("vae_decoder",))[0]["vae_decoder"]
        expected = prepare(open_source(tiny_sd15), ("vae_decoder",))[0]["vae_decoder"]
        assert found.config == expected.config
        assert found.weights.keys() == expected.weights.keys()
    assert not any(name.startswith("unet") for name in hub.asked)
    hub.models["maker/text"] = tiny_sd15 / "text_encoder"
    with pytest.raises(
        SourceError, match="holds CLIPTextModel, not AutoencoderKL or AutoencoderTiny or VQModel"
    ):
        open_source(tiny_sd15, SourceOptions(vae=Path("maker/text")))
    hub.models["maker/nothing"] = tiny_sd15 / "tokenizer"
    with pytest.raises(SourceError, match=r"holds no vae: it has no config\.json"):
        open_source(tiny_sd15, SourceOptions(vae=Path("maker/nothing")))


def test_autoencoder_of_another_name_is_downloaded(
    hub: StandIn, synthesized: Callable[[str], Path]
) -> None:
    hub.models["maker/ldm"] = synthesized("tiny-ldm")
    prepared, _ = prepare(open_source("maker/ldm"), None)
    assert list(prepared) == ["unet", "vae_decoder"]
    assert "vqvae/diffusion_pytorch_model.safetensors" in hub.asked


# --- without a network


def test_cache_is_enough_without_a_network(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(open_source(ID), None)
    _offline(monkeypatch)
    lines: list[str] = []
    source = open_source(ID, progress=lines.append)
    assert source.origin.revision == COMMIT
    assert list(prepare(source, None)[0])
    assert lines == [f"{ID}: the Hub isn't reached; the cache has commit {COMMIT}"]
    with pytest.raises(SourceError, match="its cache has no such model at revision fp16"):
        open_source(ID, SourceOptions(revision="fp16"))


def test_no_network_and_no_cache(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="the Hugging Face Hub can't be reached") as caught:
        open_source(ID)
    assert "\n" not in str(caught.value)


# --- what is refused


@pytest.mark.parametrize(
    ("hub_id", "revision", "message"),
    [
        ("maker/missing", None, "no such folder here and no such model on the Hugging Face Hub"),
        (ID, "v9", "has no revision 'v9' on the Hub; give a branch, tag or commit"),
        ("maker/gated", None, "is gated: accept its licence .* `hf auth login` or set HF_TOKEN"),
        ("maker/pickles", None, "holds unet/x.bin but no safetensors: a pickle can run code"),
        ("maker/file", None, "is no Diffusers model: .* It holds v1-5.safetensors: download"),
        ("maker/empty", None, "holds no .safetensors weights"),
        ("maker/half", None, "scheduler_config.json is missing"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(
    hub: StandIn, tmp_path: Path, hub_id: str, revision: str | None, message: str
) -> None:
    places = {"pickles": "unet/x.bin", "file": "v1-5.safetensors", "empty": "README.md"}
    for name, file in (*places.items(), ("half", "model_index.json")):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        hub.models[f"maker/{name}"] = tmp_path / name
    hub.models["maker/gated"] = hub.models[ID]
    hub.gated.add("maker/gated")
    with pytest.raises(SourceError, match=message) as caught:
        open_source(hub_id, SourceOptions(revision=revision))
    assert "\n" not in str(caught.value)


def test_pickled_network_is_refused(hub: StandIn) -> None:
    (hub.models[ID] / WEIGHTS).unlink()
    source = open_source(ID)
    with pytest.raises(SourceError, match=r"holds unet/.*\.bin but no safetensors"):
        prepare(source, None)


def test_model_of_another_family_costs_no_weights(hub: StandIn) -> None:
    config = hub.models[ID] / "unet" / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"class_embed_type": "projection"})
    )
    with pytest.raises(SourceError, match="class_embed_type is 'projection', which is not"):
        prepare(open_source(ID), None)
    assert not any(name.endswith(".safetensors") for name in hub.asked)


def test_lost_connection_is_told_and_taken_up_again(
    hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    hub.truncated.add(WEIGHTS)
    with pytest.raises(SourceError, match=r"could not be downloaded from the Hub .* Try again"):
        _unet(open_source(ID))
    hub.truncated.clear()
    _unet(open_source(ID))


def _unet(source: Source) -> None:
    prepare(source, ("unet",))


def test_options_of_checkpoints_are_refused(hub: StandIn) -> None:
    with pytest.raises(UsageError, match=r"--prediction-type is said of .* a model on the Hub"):
        open_source(ID, SourceOptions(prediction_type="epsilon"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("maker/model", True),
        ("maker/model-1.5_x", True),
        ("here/there", False),
        ("model", False),
        ("maker/model.safetensors", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("./b/c", True),
    ],
)
def test_ids_are_told_from_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: bool
) -> None:
    (tmp_path / "here" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(Path(path)) is expected
