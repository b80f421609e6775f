"""What a Core ML bundle has for Swift apps: a script for a Mac, and the vocabulary.

Apple's package reads `vocab.json` (token → id) and `merges.txt` (a pair a line, a line feed behind
each). Tokenizers' folders have those, or `tokenizer.json` alone, or lines that end otherwise: both
files are written anew from what the tokenizer reads. Of lines that begin with "#" Apple's package
takes none, six merges of CLIP's among them, "# #</w>" the first.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from exporter.staged_files import write_file
from runtimes.bundle import Bundle
from runtimes.tokenizer_files import TokenizerFiles, read_tokenizer_files

SCRIPT = "make_resources.sh"
"""In the bundle; it runs Apple's compiler."""

VOCABULARY = "swift/vocab.json"
MERGES = "swift/merges.txt"


def write_resources(bundle: Bundle, folder: Path) -> None:
    """Writes script and vocabulary; nothing where a bundle has no tokenizer, which Apple's opens.

    Both of SDXL's tokenizers have the same vocabulary; Apple's package has one for both.

    Args:
        bundle: the portable bundle.
        folder: the staged bundle.

    Raises:
        LatedgeError: the tokenizer can't be read.
    """
    if not bundle.manifest.tokenizers:
        return
    first = next(iter(bundle.manifest.tokenizers.values()))
    found = read_tokenizer_files(bundle.path / first)
    write_file(folder / VOCABULARY, _vocabulary(found))
    write_file(folder / MERGES, _merges(found))
    write_file(folder / SCRIPT, files("exporter").joinpath("coreml", SCRIPT).read_bytes())


def _vocabulary(found: TokenizerFiles) -> bytes:
    """Tokens by id, those that were added to the vocabulary too."""
    added = {token.content: token_id for token_id, token in found.added_tokens.items()}
    ids = {**found.vocab, **added}
    ordered = dict(sorted(ids.items(), key=lambda item: item[1]))
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


def _merges(found: TokenizerFiles) -> bytes:
    return "\n".join(["#version: 0.2", *map(" ".join, found.merges), ""]).encode()
