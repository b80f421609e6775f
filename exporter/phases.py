"""What the exporter is at: which part of the work begins, on which component, told to observers.

A limit of memory and a benchmark both ask; neither should be an argument of every function between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

CAPTURE = "capture"
CONVERT = "convert"
WRITE = "write"
WEIGHTS = "weights"
VERIFY = "verify"
FINISH = "finish"

PHASES: dict[str, str] = {
    CAPTURE: "torch captures the network as a program, without weights",
    CONVERT: "the program becomes an ONNX graph and is simplified",
    WRITE: "the graph is bound to its weight file and written",
    WEIGHTS: "weights are copied, cast where asked, and hashed",
    VERIFY: "torch and the engine run and are compared",
    FINISH: "report and manifest are written, and the bundle is put in its place",
}
"""The parts of the work on a component, in their order."""

Observer = Callable[[str, str], None]
"""Called with a component and the phase that begins, by the thread that does the work."""

_observers: ContextVar[tuple[Observer, ...]] = ContextVar("observers", default=())
_component: ContextVar[str] = ContextVar("component", default="")


@contextmanager
def observed(observer: Observer) -> Generator[None]:
    """Tells an observer what begins within the block."""
    token = _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)


@contextmanager
def work_on(component: str) -> Generator[None]:
    """Within the block, phases are of this component of the bundle."""
    token = _component.set(component)
    try:
        yield
    finally:
        _component.reset(token)


def begin(phase: str) -> None:
    """Says that a phase begins; the one before it has ended."""
    for observer in _observers.get():
        observer(_component.get(), phase)
