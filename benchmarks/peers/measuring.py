"""Measures all peers by the means of `latedge bench`, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.bench.client import REPOSITORY
from benchmarks.bench.entry import ask_of
from benchmarks.bench.results import Plan, Quality, Report, Settings, Subject
from benchmarks.bench.rows import Options
from benchmarks.bench.run import Run, all_ratios
from benchmarks.peers.limited import explain
from benchmarks.peers.pictures import Reference, compare, draw
from benchmarks.peers.preparing import Ready, Workshop
from benchmarks.peers.subjects import Peer
from runtimes.errors import LatedgeError

_MOST_CHARACTERS = 400


@dataclass(frozen=True)
class Benchmark:
    """What is measured of which peers.

    Attributes:
        peers: the rows, in their order.
        workshop: makes what they need.
        settings: of the picture that each draws.
        plan: sessions and rounds.
        pictures: whether their pictures are compared with the first one's.
        command: as the user typed it.
    """

    peers: Sequence[Peer]
    workshop: Workshop
    settings: Settings
    plan: Plan
    pictures: bool
    command: str

    def report(self) -> Report:
        """Prepares all, lets each draw a picture, then measures one after the other.

        Returns:
            A row for each peer; one that failed has its error, the rest is whole.
        """
        errors: dict[str, str] = {}
        ready = [found for peer in self.peers if (found := self._ready(peer, errors))]
        firsts = self._draw(ready, errors) if self.pictures else {}
        able = [each for each in ready if each.peer.name not in errors]
        run = Run(
            entries=[each.entry for each in able],
            settings=self.settings,
            options=Options(
                plan=self.plan, threads=self.workshop.threads, limits=False, cold=False
            ),
            judge=None,
            command=self.command,
            tell=self.workshop.progress,
        )
        report = run.report()
        measured = {subject.name: subject for subject in report.subjects}
        known = {each.peer.name: each for each in ready}
        rows = [
            self._row(
                peer,
                known.get(peer.name),
                measured.get(peer.name),
                firsts.get(peer.name),
                errors.get(peer.name),
            )
            for peer in self.peers
        ]
        whole = {row.name for row in rows if row.error is None}
        return msgspec.structs.replace(report, subjects=tuple(rows), ratios=all_ratios(rows, whole))

    def _ready(self, peer: Peer, errors: dict[str, str]) -> Ready | None:
        try:
            return self.workshop.ready(peer)
        except LatedgeError as e:
            errors[peer.name] = self._told(peer, e)
            return None

    def _draw(
        self, ready: Sequence[Ready], errors: dict[str, str]
    ) -> dict[str, tuple[Quality | None, str]]:
        """A picture of each, by which it is judged, and a note; the first one is the reference."""
        place: Path = self.workshop.work / "picture.npy"
        ask = ask_of(self.settings, picture=place)
        found: dict[str, tuple[Quality | None, str]] = {}
        reference: Reference | None = None
        for each in ready:
            self.workshop.progress(f"{each.peer.name}: drawing a picture")
            try:
                first = draw(each.entry, ask, place)
            except LatedgeError as e:
                errors[each.peer.name] = self._told(each.peer, e)
                continue
            if reference is None:
                shown = self._shown(str(each.entry.path))
                reference = Reference(f"{each.peer.name}, {shown}", first.picture)
            quality = compare(reference, first.picture) if each.peer.noise else None
            found[each.peer.name] = quality, first.note()
        return found

    def _told(self, peer: Peer, error: LatedgeError) -> str:
        line = self._shown(explain(str(error), self.workshop.timeout_s))[:_MOST_CHARACTERS]
        self.workshop.progress(f"{peer.name}: {line}")
        return line

    def _row(
        self,
        peer: Peer,
        ready: Ready | None,
        measured: Subject | None,
        first: tuple[Quality | None, str] | None,
        error: str | None,
    ) -> Subject:
        if measured is None:
            path = "" if ready is None else str(ready.entry.path)
            measured = Subject(
                name=peer.name,
                program=peer.program,
                path=path,
                precision=peer.precision,
                settings=self.settings,
                error=error,
            )
        elif measured.error is not None:
            told = self._shown(explain(measured.error, self.workshop.timeout_s))
            measured = msgspec.structs.replace(measured, error=told)
        return msgspec.structs.replace(
            measured,
            path=self._shown(measured.path),
            build=None if ready is None else ready.build,
            quality=None if first is None else first[0],
            notes=(
                *peer.notes,
                *(ready.notes if ready else ()),
                *(first[1:] if first else ()),
                *measured.notes,
            ),
        )

    def _shown(self, text: str) -> str:
        """A line without the parts of paths that are this machine's alone."""
        for folder in (self.workshop.work, REPOSITORY, self.workshop.model.folder.parent):
            text = text.replace(f"{folder}/", "")
        return " ".join(text.split())
