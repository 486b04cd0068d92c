"""Reading the properties of messages from outside as tolerantly as the broker hands them on.

RabbitMQ does not look into what a publisher writes there: a `timestamp` in microseconds, an id, a routing key or a
header's key that is not UTF-8, arrays thousands deep, a flag that announces flags which do not follow. pamqp, which
decodes for aiormq, fails at each of these, and the whole connection ends with it. The broker then puts the message back
at the head, where it ends the next connection, and nothing behind it is ever delivered.

Here what cannot be read counts as absent, and text that is not UTF-8 has its bytes written as `\\xff`: so two ids that
differ still do, at most four characters a byte, and no longer than 1,020. Neither library offers a hook for this, so
decoders of pamqp 4.0 are replaced by ours: three entries of `decode.METHODS`, by which it finds them for each field of
each frame, and `header.ContentHeader._get_flags`. Only a frame whose lengths are wrong still fails, and the broker
accepts none; a kind of value that is unknown here hides the headers that follow it, as its length is unknown.
"""

from typing import Final

from pamqp import decode
from pamqp.common import FieldTable, FieldValue, Struct
from pamqp.header import ContentHeader

LARGEST_KEY: Final = 1 + 255  # bytes, with its length
SIZED: Final = {b"S", b"x", b"A", b"F"}  # kinds of values that begin with their length, in four bytes
SIZES: Final = {
    **dict.fromkeys((b"V", b"\x00"), 0),
    **dict.fromkeys((b"t", b"b", b"B"), 1),
    **dict.fromkeys((b"s", b"u"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    b"D": 5,
    **dict.fromkeys((b"l", b"L", b"d", b"T"), 8),
}  # of the others' values, in bytes


def decode_tolerantly() -> None:
    """From now on, on every connection of this process; a second call changes nothing."""
    decode.METHODS.update(shortstr=short_text, timestamp=timestamp, table=table)
    ContentHeader._get_flags = staticmethod(flags)  # type: ignore[assignment]


# Each gives how many bytes it has read, and what they say.


def short_text(value: bytes) -> tuple[int, str]:
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        end = 1 + value[0]
        return end, value[1:end].decode(errors="backslashreplace")


def timestamp(value: bytes) -> tuple[int, FieldValue]:
    return SIZES[b"T"], _value(b"T" + value[: SIZES[b"T"]])


def table(value: bytes) -> tuple[int, FieldTable]:
    """One array or inner table is read whole or not at all."""
    end = Struct.integer.size + _length(value)
    fields: FieldTable = {}
    at = Struct.integer.size
    while at < end:
        key_size, key = short_text(value[at : at + LARGEST_KEY])
        at += key_size
        size = _size(value[at : at + 5])
        if size is None:
            break
        fields[key] = _value(value[at : at + size])
        at += size
    return end, fields


def flags(value: bytes) -> tuple[int, int]:
    """Tells which properties follow: always in one word, though the broker passes on the bit that announces another."""
    return Struct.ushort.size, Struct.ushort.unpack_from(value)[0]


def _size(begin: bytes) -> int | None:
    """How many bytes a value of a table has, with its kind; None for an unknown kind."""
    kind = begin[:1]
    if kind in SIZED:
        return 1 + Struct.integer.size + _length(begin[1:])
    return 1 + SIZES[kind] if kind in SIZES else None


def _length(value: bytes) -> int:
    length: int = Struct.integer.unpack_from(value)[0]
    return length


def _value(whole: bytes) -> FieldValue:
    """A value, its kind first; None for what pamqp cannot read, for whatever reason (a RecursionError is one)."""
    try:
        return decode.embedded_value(whole)[1]
    except Exception:
        return None
