"""Writes `schema/latedge.schema.json`: the JSON Schema of the manifest, from its types.

python scripts/make_schema.py            # writes it
python scripts/make_schema.py --check    # fails where the file is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from runtimes.manifest import Manifest

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "schema" / "latedge.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def encode_schema() -> bytes:
    """The bytes of the published schema: draft 2020-12, two spaces of indent, a line end."""
    schema: dict[str, Any] = {"$schema": DIALECT} | msgspec.json.schema(Manifest)
    for definition in schema["$defs"].values():
        # Python 3.13 strips the indent of docstrings itself: the bytes are to be the same.
        definition["description"] = inspect.cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def main(arguments: list[str]) -> int:
    """Writes or checks the file; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print(f"unknown arguments {arguments}; known is --check", file=sys.stderr)
        return 2
    if not arguments:
        SCHEMA_FILE.parent.mkdir(exist_ok=True)
        SCHEMA_FILE.write_bytes(encode_schema())
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_bytes() == encode_schema():
        return 0
    print(
        f"{SCHEMA_FILE} is not what runtimes/manifest.py says: run `make schema`", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
