"""CLIP folders: what is read, and what is refused in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic.vocabulary import END, write_tokenizer
from exporter.errors import SourceError, WeightError
from exporter.sources.clip_folder import open_clip_folder
from exporter.weights import read_header, write_safetensors
from runtimes.errors import LatedgeError
from tests.conftest import REPOSITORY
from tests.exporter.clip_folders import VOCABULARY, edit_json, write_pixels

Break = Callable[[Path], Any]


@pytest.fixture
def copy(tiny_clip: Path, tmp_path: Path) -> Path:
    """A folder of one's own."""
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))


def rewrite_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Writes model.safetensors anew with other keys."""
    tensors: dict[str, Any] = dict(read_header(folder / "model.safetensors"))
    change(tensors)
    values = {name: item.read().tobytes() for name, item in tensors.items()}
    entries = {name: (item.dtype, item.shape) for name, item in tensors.items()}
    write_safetensors(folder / "model.safetensors", entries, lambda name: [values[name]])


def test_a_folder_is_read(tiny_clip: Path) -> None:
    found = open_clip_folder(tiny_clip)
    assert found.configs["clip_text"]["projection_dim"] == 24
    assert found.configs["clip_image"]["projection_dim"] == 24
    keys = {name: len(tensors) for name, tensors in found.tensors.items()}
    assert keys["clip_text"] > 30
    assert keys["clip_image"] > 30
    all_keys = read_header(tiny_clip / "model.safetensors").keys()
    assert sum(keys.values()) == len(all_keys) - 1  # logit_scale has no part in a cosine


def test_no_torch_is_needed_to_read_one(tiny_clip: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from exporter.sources.clip_folder import open_clip_folder\n"
        f"open_clip_folder(Path({str(tiny_clip)!r}))\n"
        "import exporter.clip_cache\n"
        "assert not {'torch', 'transformers', 'onnx_ir'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert done.returncode == 0


def test_the_second_name_of_a_config_wins(copy: Path) -> None:
    """As in transformers: public folders have both."""
    edit_json(copy / "config.json", text_config_dict={"hidden_size": 8})
    assert open_clip_folder(copy).configs["clip_text"]["hidden_size"] == 8


def test_the_end_of_a_text_is_the_tokenizers(copy: Path) -> None:
    config: Any = open_clip_folder(copy).configs["clip_text"]
    edit_json(copy / "config.json", text_config={**config, "eos_token_id": 2})
    assert open_clip_folder(copy).configs["clip_text"]["eos_token_id"] == VOCABULARY - 1


BROKEN: dict[str, tuple[Break, type[LatedgeError], str]] = {
    "no folder": (shutil.rmtree, SourceError, "is no such folder; give the folder of a CLIP"),
    "no config": (
        lambda folder: (folder / "config.json").unlink(),
        SourceError,
        "config.json is missing; download the whole folder again",
    ),
    "another model": (
        lambda folder: edit_json(folder / "config.json", model_type="clip_text_model"),
        SourceError,
        "is no CLIP with both encoders: its config.json has model_type 'clip_text_model'",
    ),
    "no encoder's config": (
        lambda folder: edit_json(folder / "config.json", vision_config=None),
        SourceError,
        "config.json has no vision_config",
    ),
    "a size that is no number": (
        lambda folder: edit_json(
            folder / "config.json", vision_config={"image_size": [40, 40], "patch_size": 8}
        ),
        SourceError,
        "image_size is [40, 40], not a whole number",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        SourceError,
        "holds no .safetensors weights",
    ),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        SourceError,
        "pytorch_model.bin is a pickle, which can run code when it is loaded, and is refused. "
        "Where you trust it, convert it: `CLIPModel.from_pretrained(",
    ),
    "truncated weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-100]
        ),
        SourceError,
        "is truncated",
    ),
    "one encoder's weights": (
        lambda folder: rewrite_weights(
            folder,
            lambda tensors: [tensors.pop(k) for k in list(tensors) if k.startswith("vis")],
        ),
        WeightError,
        "has no weights of CLIP's image encoder (vision_model.…)",
    ),
    "a strange weight": (
        lambda folder: rewrite_weights(
            folder, lambda tensors: tensors.update({"head.weight": tensors["logit_scale"]})
        ),
        WeightError,
        "weight head.weight is no CLIP's (1 such)",
    ),
    "no tokenizer": (
        lambda folder: [(folder / name).unlink() for name in ("vocab.json", "merges.txt")],
        SourceError,
        "holds no CLIP tokenizer",
    ),
    "another tokenizer": (
        lambda folder: write_tokenizer(folder, VOCABULARY + 50, END),
        SourceError,
        f"the tokenizer has {VOCABULARY + 50} tokens and the text encoder takes {VOCABULARY}",
    ),
    "another length": (
        lambda folder: edit_json(folder / "tokenizer_config.json", model_max_length=64),
        SourceError,
        "the tokenizer gives 64 ids and the text encoder takes 77",
    ),
    "no image settings": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        LatedgeError,
        "preprocessor_config.json is missing",
    ),
    "other image settings": (
        lambda folder: write_pixels(folder, {}),
        SourceError,
        "its image settings give 224×224, and the image encoder takes 40×40",
    ),
    "settings of no fixed size": (
        lambda folder: write_pixels(folder, {"do_center_crop": False}),
        SourceError,
        "its image settings give pictures of any size",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused(copy: Path, case: str) -> None:
    damage, error, message = BROKEN[case]
    damage(copy)
    with pytest.raises(error) as caught:
        open_clip_folder(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_refused(tiny_clip: Path) -> None:
    with pytest.raises(SourceError, match="is a file; give the folder of a CLIP"):
        open_clip_folder(tiny_clip / "model.safetensors")
    with pytest.raises(SourceError, match="is a pickle"):
        open_clip_folder(tiny_clip / "pytorch_model.bin")
