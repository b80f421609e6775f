"""Reads protocol buffers without the protobuf package: messages as fields by number.

The wire format: https://protobuf.dev/programming-guides/encoding. A field that is absent has its
type's zero value, the last one of a field that isn't repeated counts, and repeated numbers come
packed or one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runtimes.mil.values import Array

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class WireError(ValueError):
    """The bytes are no protocol buffer, or not of the kind that was expected."""


@dataclass(frozen=True)
class Message:
    """A message; its fields are split when it is made, those within them when they are asked for.

    Attributes:
        raw: its bytes.
    """

    raw: memoryview
    _fields: dict[int, list[int | memoryview]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Splits the bytes.

        Raises:
            WireError: they are no message.
        """
        object.__setattr__(self, "_fields", _split(self.raw))

    def messages(self, number: int) -> list[Message]:
        """The messages in a repeated field."""
        return [Message(raw) for raw in self._bytes(number)]

    def message(self, number: int) -> Message | None:
        """The message in a field, None where it is absent."""
        found = self._bytes(number)
        return Message(found[-1]) if found else None

    def entries(self, number: int) -> dict[str, Message]:
        """A map from texts to messages: its entries have the key in field 1, the value in 2."""
        found: dict[str, Message] = {}
        for entry in self.messages(number):
            found[entry.text(1)] = entry.message(2) or Message(memoryview(b""))
        return found

    def texts(self, number: int) -> list[str]:
        """The texts in a repeated field."""
        try:
            return [str(raw, "utf-8") for raw in self._bytes(number)]
        except UnicodeDecodeError as e:
            raise WireError(f"field {number} is no UTF-8 text") from e

    def text(self, number: int) -> str:
        """The text in a field."""
        return (self.texts(number) or [""])[-1]

    def bytes(self, number: int) -> memoryview:
        """The bytes in a field."""
        return (self._bytes(number) or [memoryview(b"")])[-1]

    def integer(self, number: int) -> int:
        """The integer in a field, as int64."""
        return (self.integers(number) or [0])[-1]

    def integers(self, number: int) -> list[int]:
        """The integers in a repeated field, as int64."""
        found: list[int] = []
        for value in self._fields.get(number, ()):
            found += [value] if isinstance(value, int) else _varints(value)
        return [value - (1 << 64) if value >> 63 else value for value in found]

    def floats(self, number: int) -> Array:
        """The floats in a repeated field, float32."""
        return self._fixed(number, np.dtype("<f4"))

    def doubles(self, number: int) -> Array:
        """The doubles in a repeated field, float64."""
        return self._fixed(number, np.dtype("<f8"))

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return number in self._fields

    def _bytes(self, number: int) -> list[memoryview]:
        found = self._fields.get(number, [])
        texts = [value for value in found if not isinstance(value, int)]
        if len(texts) != len(found):
            raise WireError(f"field {number} is a number where bytes were expected")
        return texts

    def _fixed(self, number: int, dtype: np.dtype[np.generic]) -> Array:
        raw = b"".join(self._bytes(number))
        if len(raw) % dtype.itemsize:
            raise WireError(f"field {number} holds {len(raw)} bytes, no whole count of {dtype}")
        return np.frombuffer(raw, dtype)


def _split(raw: memoryview) -> dict[int, list[int | memoryview]]:
    fields: dict[int, list[int | memoryview]] = {}
    at, end = 0, len(raw)
    while at < end:
        key, at = _varint(raw, at)
        wire, value = key & 7, 0
        if wire == _VARINT:
            value, at = _varint(raw, at)
        elif wire == _BYTES or wire in _FIXED_BYTES:
            length, at = _varint(raw, at) if wire == _BYTES else (_FIXED_BYTES[wire], at)
            if length > end - at:
                raise WireError("it is cut off")
            value, at = raw[at : at + length], at + length
        else:
            raise WireError(f"it has a field of wire type {wire}")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and where it ends."""
    value = shift = 0
    while at < len(raw) and shift < 64:
        byte = raw[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise WireError("it is cut off")


def _varints(raw: memoryview) -> list[int]:
    found: list[int] = []
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        found.append(value)
    return found
