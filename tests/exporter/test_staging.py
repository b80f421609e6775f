"""A staged folder appears whole or not at all, whatever stops it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import exporter.replace as replace_module
from exporter.fingerprint import Fingerprint
from exporter.journal import CONTENT
from exporter.staging import BUNDLE, KEPT_NOTE, MODEL, check_free, check_room, resumable, staged
from runtimes.errors import LatedgeError, UsageError
from tests.exporter.moments import Moments, moments


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with staged(tmp_path / "out", force=False) as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_nothing_is_left_when_it_fails(tmp_path: Path, error: BaseException) -> None:
    def write_and_fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise error

    with pytest.raises(type(error)), staged(tmp_path / "out", force=False) as folder:
        write_and_fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(UsageError, match="exists; give another place, or --force"),
        staged(tmp_path / "out", force=False),
    ):
        pass
    assert (tmp_path / "out").is_dir()


def test_force_replaces_only_when_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model_index.json").write_text("1")
    with pytest.raises(KeyboardInterrupt), staged(out, force=True):
        raise KeyboardInterrupt
    assert (out / "model_index.json").exists()
    with staged(out, force=True) as folder:
        (folder / "new").write_text("2")
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "stale").write_text("1")
    with staged(tmp_path / "out", force=False) as folder:
        assert list(folder.iterdir()) == []


def test_two_writers_of_one_place_are_kept_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out, force=False):
        with (
            pytest.raises(LatedgeError, match="another process is writing"),
            staged(out, force=False),
        ):
            pass
        assert (tmp_path / ".out.partial").is_dir()
    assert out.is_dir()


def test_place_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LatedgeError, match="can't write to"),
        staged(tmp_path / "file" / "out", force=False),
    ):
        pass


def test_too_small_a_disk_is_refused_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(LatedgeError, match=r"GB free where 1000000000\.00 GB are needed"):
        check_room(tmp_path / os.sep.join("abc"), 10**18)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_force_replaces_only_what_latedge_writes(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "precious"
    if kind == "file":
        out.write_text("1")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("1")
    with (
        pytest.raises(UsageError, match=r"else than a folder with model_index\.json, and is not"),
        staged(out, force=True),
    ):
        pass
    assert out.exists()


def test_bundle_is_not_put_in_a_models_place(tmp_path: Path) -> None:
    """A model that was downloaded can't be made again by whoever mistypes the output."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match=r"else than a folder with latedge\.json, and is not repl"):
        check_free(model, force=True, known_by=BUNDLE)
    check_free(model, force=True, known_by=MODEL)


@pytest.mark.parametrize("inner", [".", "unet", "sub/model.safetensors"])
def test_output_that_holds_the_source_is_not_replaced(tmp_path: Path, inner: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "latedge.json").write_text("{}")
    with pytest.raises(UsageError, match=r"out holds the source .*, and is not replaced"):
        check_free(out, force=True, known_by=BUNDLE, source=out / inner)
    check_free(out, force=True, known_by=BUNDLE, source=tmp_path / "output")


STEPS = ["text_encoder", "unet", "vae_decoder"]
OLD = {"latedge.json": "old", "unet/weights": "old"}
NEW = {f"{name}/weights": f"weights of {name}" for name in STEPS} | {"latedge.json": "new"}
RUN = Fingerprint(verb="export", source="ab", options={}, versions={})


class Interruption(BaseException):
    """Stops a run as Ctrl-C does."""


def _make(
    out: Path,
    *,
    force: bool = False,
    source: str = "ab",
    stop: tuple[str, BaseException] | None = None,
    watcher: Moments | None = None,
) -> list[str]:
    """Writes a bundle of three steps; returns the steps that were not taken from another run."""
    made: list[str] = []
    run = Fingerprint(verb="export", source=source, options={}, versions={})
    with resumable(out, run, force=force, progress=lambda _: None) as journal:

        def write(name: str) -> str:
            if stop is not None and stop[0] == name:
                raise stop[1]
            (journal.content / name).mkdir()
            with (journal.content / name / "weights").open("w") as file:
                file.write(f"weights of {name}"[:4])
                file.flush()
                if watcher is not None:
                    watcher.take()  # in the middle of a file
                file.write(f"weights of {name}"[4:])
            made.append(name)
            return name

        for name in STEPS:
            assert journal.step(name, lambda name=name: write(name), str) == name
        if stop is not None and stop[0] == "end":
            raise stop[1]
        (journal.content / "latedge.json").write_text("new")
    return made


def _bundle(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*")
        if path.is_file()
    }


def _make_old(out: Path) -> None:
    for name, text in OLD.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)


def test_finished_run_leaves_the_bundle_alone(tmp_path: Path) -> None:
    assert _make(tmp_path / "out") == STEPS
    assert os.listdir(tmp_path) == ["out"]
    assert _bundle(tmp_path / "out") == NEW


def test_every_moment_of_a_killed_run_can_be_gone_on_from(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with moments(place, tmp_path / "moments") as watcher:
        _make(place / "out", watcher=watcher)
    assert len(watcher.found) > 20
    redone: list[int] = []
    for left in watcher.found:
        out = left / "out"
        if out.exists():
            assert _bundle(out) == NEW, "no half bundle"
            _make(out, force=True)
        else:
            redone.append(len(_make(out)))
        assert os.listdir(left) == ["out"], "nothing is left beside it"
        assert _bundle(out) == NEW
    # Each of the steps was taken from some moment on, and never made again after that.
    assert redone == sorted(redone, reverse=True)
    assert set(redone) == {3, 2, 1, 0}


@pytest.mark.parametrize("atomic", [True, False])
def test_every_moment_of_a_replacement_has_the_old_bundle_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:
        monkeypatch.setattr(replace_module, "exchange", lambda *_: False)
    place = tmp_path / "place"
    _make_old(place / "out")
    with moments(place, tmp_path / "moments") as watcher:
        _make(place / "out", force=True)
    assert len(watcher.found) > 20
    absent = 0
    for left in watcher.found:
        out = left / "out"
        absent += not out.exists()
        if out.exists():
            assert _bundle(out) in (OLD, NEW), "no half bundle"
        else:
            # Between two renames: the next run takes the old one back before it says so.
            assert not atomic
            with pytest.raises(UsageError, match="exists; give another place"):
                _make(out)
            assert _bundle(out) == OLD
        assert _make(out, force=True) == STEPS, "--force starts afresh"
        assert os.listdir(left) == ["out"]
        assert _bundle(out) == NEW
    assert absent == (0 if atomic else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), Interruption()])
def test_interrupted_run_is_kept_and_says_so(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        _make(tmp_path / "out", stop=("unet", error))
    assert caught.value.__notes__ == [KEPT_NOTE]
    assert os.listdir(tmp_path) == [".out.partial"]
    assert _make(tmp_path / "out") == ["unet", "vae_decoder"]
    assert os.listdir(tmp_path) == ["out"]
    assert _bundle(tmp_path / "out") == NEW


def test_nothing_is_kept_where_nothing_is_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        _make(tmp_path / "out", stop=("text_encoder", KeyboardInterrupt()))
    assert not hasattr(caught.value, "__notes__")
    assert os.listdir(tmp_path) == []


def test_nothing_is_kept_where_the_next_run_starts_afresh(tmp_path: Path) -> None:
    _make_old(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt) as caught:
        _make(tmp_path / "out", force=True, stop=("end", KeyboardInterrupt()))
    assert not hasattr(caught.value, "__notes__")
    assert os.listdir(tmp_path) == ["out"]
    assert _bundle(tmp_path / "out") == OLD


@pytest.mark.parametrize("error", [OSError(28, "full"), LatedgeError("no"), ValueError("fault")])
@pytest.mark.parametrize("step", ["unet", "end"])
def test_failed_run_leaves_nothing(tmp_path: Path, step: str, error: Exception) -> None:
    with pytest.raises(type(error)):
        _make(tmp_path / "out", stop=(step, error))
    assert os.listdir(tmp_path) == []


def _interrupt(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _make(out, stop=("vae_decoder", KeyboardInterrupt()))


def test_another_fingerprint_and_force_start_afresh(tmp_path: Path) -> None:
    for number, options in enumerate(({"source": "ac"}, {"force": True})):
        out = tmp_path / str(number) / "out"
        _interrupt(out)
        assert _make(out, **options) == STEPS  # pyright: ignore[reportArgumentType]
        assert _bundle(out) == NEW


def test_second_writer_leaves_what_the_first_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _interrupt(out)
    with resumable(out, RUN, force=False, progress=lambda _: None) as journal:
        for second in (resumable(out, RUN, force=True, progress=print), staged(out, force=True)):
            refused = pytest.raises(LatedgeError, match=r"another process is writing .*out; wait")
            with refused, second:
                pass
        assert journal.finished == ("text_encoder", "unet")
        assert (journal.content / "unet" / "weights").read_text() == NEW["unet/weights"]


def test_other_outputs_interrupted_runs_are_left_alone(tmp_path: Path) -> None:
    for name in ("out.old", "out2", ".out"):
        _interrupt(tmp_path / name)
    before = sorted(os.listdir(tmp_path))
    _make_old(tmp_path / "out")
    _make(tmp_path / "out", force=True)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "out"])
    for name in ("out.old", "out2", ".out"):
        assert _make(tmp_path / name) == ["vae_decoder"]


def test_stale_lock_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").write_text("")
    _make(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_writer_without_a_journal_clears_an_interrupted_run(tmp_path: Path) -> None:
    _interrupt(tmp_path / "out")
    with staged(tmp_path / "out", force=False) as folder:
        assert list(folder.iterdir()) == []
    assert os.listdir(tmp_path) == ["out"]


def test_what_an_interrupted_run_left_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    left = tmp_path / ".out.partial" / CONTENT
    left.mkdir(parents=True)
    (left / "weights").write_bytes(bytes(500))
    check_room(tmp_path / "out", 1500)
    with pytest.raises(LatedgeError, match="GB are needed"):
        check_room(tmp_path / "out", 1501)
    with pytest.raises(LatedgeError, match="GB are needed"):
        check_room(tmp_path / "other", 1001)
