"""The published JSON Schema follows the manifest's types."""

from __future__ import annotations

import msgspec
import pytest

from runtimes.manifest import Manifest
from scripts import make_schema


def test_published_schema_is_the_manifests() -> None:
    assert make_schema.SCHEMA_FILE.read_bytes() == make_schema.encode_schema(), "run `make schema`"


def test_schema_names_every_field_of_the_manifest() -> None:
    schema = msgspec.json.decode(make_schema.encode_schema())
    properties = schema["$defs"]["Manifest"]["properties"]
    assert set(properties) == set(Manifest.__struct_fields__)


def test_check_refuses_an_outdated_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_schema.main(["--check"]) == 0
    monkeypatch.setattr(make_schema, "encode_schema", lambda: b"{}\n")
    assert make_schema.main(["--check"]) == 1
    assert "run `make schema`" in capsys.readouterr().err


def test_unknown_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_schema.main(["--chek"]) == 2
    assert "--check" in capsys.readouterr().err
