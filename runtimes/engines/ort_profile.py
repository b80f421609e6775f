"""What ONNX Runtime's profiler writes, as times of nodes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from runtimes.engine import NodeTime
from runtimes.engines.sdk import first_line
from runtimes.errors import EngineError

_KERNEL = "_kernel_time"
_CALL = "model_run"


class _Event(msgspec.Struct):
    """An entry of the profile; times in microseconds."""

    name: str
    cat: str = ""
    ts: int = 0
    dur: int = 0
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


@dataclass
class OrtProfile:
    """The profile of one session, in a folder of its own that goes when the profile is read.

    Attributes:
        folder: holds the file that the profiler writes.
        prefix: of that file's path, as the session is told.
    """

    folder: tempfile.TemporaryDirectory[str]
    prefix: Path = field(init=False)

    def __post_init__(self) -> None:
        """Sets the prefix."""
        self.prefix = Path(self.folder.name) / "ort"

    @classmethod
    def begin(cls) -> Self:
        """Makes the folder.

        Raises:
            EngineError: it can't be made.
        """
        try:
            return cls(tempfile.TemporaryDirectory(prefix="latedge-profile-"))
        except OSError as e:
            raise EngineError(
                f"ONNX Runtime's profiler needs a folder for temporary files: {e.strerror}."
            ) from e

    def end(self, session: Any) -> list[list[NodeTime]]:
        """Ends the profile, reads it and removes it.

        Args:
            session: that was told of `prefix`.

        Returns:
            The nodes of each call, in the order of the calls.

        Raises:
            EngineError: it can't be read.
        """
        try:
            return node_times(Path(session.end_profiling()).read_bytes())
        except Exception as e:
            raise EngineError(f"ONNX Runtime's profile can't be read: {first_line(e)}") from e
        finally:
            self.close()

    def close(self) -> None:
        """Removes the folder."""
        self.folder.cleanup()


def node_times(raw: bytes) -> list[list[NodeTime]]:
    """The times of nodes in a profile, by call.

    Args:
        raw: the profile's JSON.

    Raises:
        msgspec.DecodeError: it is no profile.
    """
    events = msgspec.json.decode(raw, type=list[_Event])
    calls = sorted((event for event in events if event.name == _CALL), key=lambda call: call.ts)
    kernels = [event for event in events if event.cat == "Node" and event.name.endswith(_KERNEL)]
    return [
        [_node(kernel) for kernel in kernels if call.ts <= kernel.ts < call.ts + call.dur]
        for call in calls
    ]


def _node(kernel: _Event) -> NodeTime:
    kind = str(kernel.args.get("op_name", ""))
    return NodeTime(kernel.name.removesuffix(_KERNEL), kind, kernel.dur / 1000)
