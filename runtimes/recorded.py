"""Reads back what a picture says of how it was made, so that it can be made again.

The record is `runtimes.metadata`'s text chunk `latedge`. A picture comes from anywhere: nothing in
its record is believed before it was checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from PIL import Image, UnidentifiedImageError

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.metadata import Origin
from runtimes.options import Changes, check_names, names_of
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.settle import settle

RECORD = "latedge"
OTHER_TOOLS = "parameters"
_BY_HAND = "Give the prompt and the settings yourself."
_BATCH = {"prompts": "prompt", "negative_prompts": "negative_prompt"}
"""Names in the record of a batch → the settings that they are."""

ARGUMENTS = names_of(Changes)
"""What a record says to `settle`, and a repetition may change."""

_SCHEDULE = frozenset({"schedule", "spacing", "sigmas", "timesteps", "sampler_options"})
_FOLLOWING = {"negative_prompt": "prompt", "variation_seed": "variation_strength"}
"""Setting that may become another when one is changed on purpose → that one."""

ORIGIN_TITLES: dict[str, str] = {
    "bundle_sha256": "bundle",
    "engine": "engine",
    "device": "device",
    "threads": "number of threads",
    "latedge_version": "version of latedge",
    "machine": "machine",
}

T = TypeVar("T", bound=msgspec.Struct)


class NotTheSame(UserWarning):
    """Something that decides a picture's bits is not what it was when the picture was made."""


@dataclass(frozen=True)
class Recorded:
    """What a picture says of itself.

    Attributes:
        path: the picture.
        settings: of the call that made it.
        origin: what made it.
        index: which of the call's pictures it is.
    """

    path: Path
    settings: Settings
    origin: Origin
    index: int

    def settle(self, bundle: Bundle, inputs: Inputs | ReadInputs, changes: Changes) -> Settings:
        """The settings of the call that makes the picture again, checked against a bundle.

        Args:
            bundle: what shall make it.
            inputs: the pictures and arrays that came with the call; a record holds none.
            changes: what takes the place of what the record says.

        Raises:
            UsageError: the bundle can't do what the record or `changes` ask for, or the task takes
                pictures that aren't given.
            BundleError: the bundle can't make such pictures.
        """
        read = ReadInputs.of(inputs)
        given = {name for name, value in vars(read.given).items() if value is not None}
        taken = {*self.settings.input_sha256}
        if self.settings.embeddings_sha256 is not None:
            taken.add("prompt_embeds")
        if missing := taken - given:
            raise UsageError(
                f"{self.path} was made from {' and '.join(sorted(missing))}, of which its record "
                "holds the SHA-256 alone; give the same again."
            )
        check_names(changes, ARGUMENTS)
        replaced = _replaced(changes)
        said = {key: value for key, value in self._said().items() if key not in replaced}
        asked: dict[str, Any] = {**said, **changes}
        if "prompt" in changes and "negative_prompt" not in changes:
            # One for all: there may be another number of prompts now.
            texts = set(self.settings.negative_prompt)
            asked["negative_prompt"] = texts.pop() if len(texts) == 1 else sorted(texts)
        if self.settings.zero_negative and "negative_prompt" not in changes:
            # Nothing was said: that is not the same as the empty text.
            del asked["negative_prompt"]
        for name in ("prompt", "negative_prompt"):
            if name in asked and f"{name}_embeds" in given and name not in changes:
                # Empty texts in the record: embeddings stood in their place.
                del asked[name]
        by_itself = settle(bundle, inputs=read, **asked)
        unlike = self._unlike(by_itself)
        more = {name: value for name, value in unlike.items() if name not in replaced}
        return settle(bundle, inputs=read, **{**more, **asked}) if more else by_itself

    def index_in(self, changes: Changes) -> int | None:
        """Which picture of the call is this one; None where it's a call of other pictures."""
        return None if {"prompt", "num_images_per_prompt"} & set(changes) else self.index

    def differences(self, settings: Settings, origin: Origin, changes: Changes) -> list[str]:
        """What keeps a picture made now from being this one bit for bit, a line each.

        Args:
            settings: of the call, as `settle` gave them.
            origin: what makes it now.
            changes: what was changed on purpose; it isn't told.
        """
        asked = {*changes, *_replaced(changes)}
        asked |= {name for name, by in _FOLLOWING.items() if by in changes}
        names = {name: name for name in _names(Settings) - asked - {"input_sha256"}}
        return [
            f"{title} is {now}; {self.path} was made with {then}."
            for title, then, now in (
                *_different(self.settings, settings, names),
                *_different_inputs(self.settings.input_sha256, settings.input_sha256),
                *_different(self.origin, origin, ORIGIN_TITLES),
            )
        ]

    def _said(self) -> dict[str, Any]:
        """Arguments of `settle` that the record says: what every call has, and what isn't plain.

        Nothing of the schedule: what the bundle says of it anew may be the same.
        """
        return {
            name: getattr(self.settings, name)
            for name, field in _fields(self.settings).items()
            if name not in _SCHEDULE and getattr(self.settings, name) != field.default
        }

    def _unlike(self, settings: Settings) -> dict[str, Any]:
        """Further arguments of `settle`: what is otherwise in the settings that it gave.

        What is alike is not named: an option that goes with others may not stand without them.
        """
        pairs = {
            name: (getattr(self.settings, name), getattr(settings, name))
            for name, field in _fields(self.settings).items()
            if not field.required
        }
        if settings.spacing is None:
            # Another sampler may have one of its own, and none that can be said.
            pairs.pop("spacing", None)
        return {name: then for name, (then, now) in pairs.items() if then != now}


def _fields(settings: Settings) -> dict[str, msgspec.structs.FieldInfo]:
    """The settings that `settle` takes; others follow from the inputs."""
    return {f.name: f for f in msgspec.structs.fields(settings) if f.name in ARGUMENTS}


def _replaced(changes: Changes) -> set[str]:
    """The recorded settings that others stand in for: a schedule is said in one way alone."""
    given = {"sigmas", "timesteps"}
    if given & changes.keys():
        return {*given, "schedule", "spacing", "num_inference_steps"}
    if "schedule" in changes:
        return {*given, "spacing"}
    return given if {"spacing", "num_inference_steps"} & changes.keys() else set()


def read_recorded(path: Path | str) -> Recorded:
    """Reads the record in a PNG that latedge wrote.

    Raises:
        UsageError: it can't be read, is no PNG, or holds no record that this version understands.
    """
    place = Path(path)
    record = _decoded(place, _text(place))
    for batch, name in _BATCH.items():
        record[name] = record.pop(batch, [record.get(name)])
    index = record.pop("index", None)
    unknown = set(record) - _names(Settings) - _names(Origin)
    if unknown:
        raise UsageError(
            f"{place} was made with settings that this version of latedge doesn't know: "
            f"{', '.join(sorted(unknown))}. Use the version that made it, or a newer one."
        )
    settings, origin = _converted(place, record, Settings), _converted(place, record, Origin)
    if type(index) is not int or not 0 <= index < settings.count:
        raise UsageError(
            f"{place}: its record is altered: index is {index!r}, of {settings.count} pictures. "
            f"{_BY_HAND}"
        )
    return Recorded(place, settings, origin, index)


def _text(path: Path) -> str:
    """The record of a picture, as text."""
    try:
        # Not `image.text`, which reads the file to its end: the record precedes the pixels.
        with Image.open(path, formats=["PNG"]) as image:
            texts = dict(image.info)
    except UnidentifiedImageError as e:
        raise UsageError(f"{path} can't be read as a PNG: another format, or cut off.") from e
    except OSError as e:
        raise UsageError(f"{path} can't be read: {e.strerror or e}.") from e
    except (ValueError, Image.DecompressionBombError) as e:
        raise UsageError(f"{path} can't be read as a PNG: {e}.") from e
    text = texts.get(RECORD)
    if isinstance(text, str):
        return text
    other = f" (another tool's {OTHER_TOOLS!r} alone)" if OTHER_TOOLS in texts else ""
    raise UsageError(
        f"{path} holds no {RECORD!r} record of how it was made{other}: another program made it, or "
        f"took the record out. {_BY_HAND}"
    )


def _decoded(path: Path, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise UsageError(f"{path}: its record is altered: {e}. {_BY_HAND}") from e


def _converted(path: Path, record: Mapping[str, Any], struct: type[T]) -> T:
    fields = {name: value for name, value in record.items() if name in _names(struct)}
    try:
        return msgspec.convert(fields, struct)
    except msgspec.ValidationError as e:
        raise UsageError(f"{path}: its record is altered or incomplete: {e}. {_BY_HAND}") from e


def _different(
    then: msgspec.Struct, now: msgspec.Struct, titles: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    pairs = {name: (getattr(then, name), getattr(now, name)) for name in titles}
    return [
        (titles[name], _shown(name, before), _shown(name, after))
        for name, (before, after) in sorted(pairs.items())
        if before != after
    ]


def _different_inputs(
    then: Mapping[str, str], now: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    def shown(digest: str | None) -> str:
        return "none" if digest is None else f"one of SHA-256 {digest[:10]}"

    return [
        (name, shown(then.get(name)), shown(now.get(name)))
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _shown(name: str, value: object) -> str:
    if name == "threads" and value is None:
        return "the engine's choice"
    if name == "machine" and not value:
        return "one that it doesn't name"
    if name == "bundle_sha256":
        return str(value)[:10]
    return str(value) if name in ORIGIN_TITLES else repr(value)


def _names(struct: type[msgspec.Struct]) -> set[str]:
    return set(struct.__struct_fields__)
