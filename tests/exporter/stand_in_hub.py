"""A stand-in for the Hugging Face Hub: an HTTP server on this machine with models from folders."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "5f4e3d2c" * 5
BRANCH_COMMIT = "0a1b2c3d" * 5


@dataclass
class StandIn:
    """What the server has and what it was asked.

    Attributes:
        models: id → folder.
        revisions: of every model: name → commit.
        gated: ids whose files want an accepted licence.
        truncated: ends of paths that are cut short, as by a lost connection.
        asked: paths of the files that were sent.
    """

    models: dict[str, Path] = field(default_factory=dict[str, Path])
    revisions: dict[str, str] = field(
        default_factory=lambda: {"main": COMMIT, "fp16": BRANCH_COMMIT}
    )
    gated: set[str] = field(default_factory=set[str])
    truncated: set[str] = field(default_factory=set[str])
    asked: list[str] = field(default_factory=list[str])
    endpoint: str = ""


@contextmanager
def stand_in_hub() -> Generator[StandIn]:
    """Serves until the block ends."""
    state = StandIn()

    class Handler(_Handler):
        hub = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def _answer(self, *, body: bool) -> None:
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        hub_id, rest = "/".join(parts[:2]), parts[2:]
        if hub_id not in self.hub.models:
            return self._refuse(404 if api else 401, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self.hub.revisions.get(revision, revision)
        if commit not in self.hub.revisions.values():
            return self._refuse(404, "RevisionNotFound")
        if api:
            return self._send_json(self._info(hub_id, commit))
        if hub_id in self.hub.gated:
            return self._refuse(403, "GatedRepo")
        return self._send_file(hub_id, "/".join(rest[2:]), commit, body=body)

    def _info(self, hub_id: str, commit: str) -> dict[str, object]:
        folder = self.hub.models[hub_id]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [
            {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size}
            for path in files
        ]
        return {"id": hub_id, "modelId": hub_id, "sha": commit, "siblings": siblings, "tags": []}

    def _send_file(self, hub_id: str, name: str, commit: str, *, body: bool) -> None:
        path = self.hub.models[hub_id] / name
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        content = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self.hub.asked.append(name)
            cut = any(name.endswith(end) for end in self.hub.truncated)
            self.wfile.write(content[start : len(content) // 2] if cut else content[start:])
            self.close_connection = cut
        return None

    def _send_json(self, content: object) -> None:
        raw = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
