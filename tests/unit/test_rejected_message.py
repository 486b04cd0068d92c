"""The rules of a message that no worker can act on (design 4, contract messaging.md 3 and 4)."""

import base64
from itertools import combinations
from uuid import UUID

import pytest

from domain.rejected_message import RAW_LIMIT_BYTES, MessageRejected, RejectedMessage, message_stream, raw_parts

STREAM = message_stream("m-1", b"not json")


def rejected(message_id: str | None = "m-1") -> MessageRejected:
    return MessageRejected(
        queue="application_processing_queue",
        message_id=message_id,
        application_id=None,
        reason="Not JSON",
        error_type="JSONDecodeError",
        **raw_parts(b"not json"),
    )


# -- once -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message_id", ["m-1", None])
@pytest.mark.parametrize("redelivered", [False, True])
def test_a_new_message_is_recorded(message_id: str | None, redelivered: bool) -> None:
    event = rejected(message_id)
    assert RejectedMessage(STREAM).reject(event, redelivered=redelivered) == [event]


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_message_with_an_id_is_recorded_once(redelivered: bool) -> None:
    assert RejectedMessage(STREAM, version=1).reject(rejected(), redelivered=redelivered) == []


def test_without_an_id_a_redelivery_is_recorded_once() -> None:
    assert RejectedMessage(STREAM, version=1).reject(rejected(None), redelivered=True) == []


@pytest.mark.parametrize("message_id", [None, ""])
def test_without_an_id_another_delivery_of_the_same_bytes_is_another_message(message_id: str | None) -> None:
    event = rejected(message_id)
    assert RejectedMessage(STREAM, version=3).reject(event, redelivered=False) == [event]


# -- streams ----------------------------------------------------------------------------------------------------------


def test_an_empty_id_is_none() -> None:
    assert message_stream("", b"a") == message_stream(None, b"a")


def test_a_stream_is_named_by_message_id_and_bytes() -> None:
    streams = [
        message_stream("m-1", b"a"),
        message_stream("m-2", b"a"),
        message_stream("m-1", b"b"),
        message_stream(None, b"a"),
        message_stream("None", b"a"),
        message_stream("m-1", b""),
        message_stream("m-1\x1fa", b""),
    ]
    assert all(one != other for one, other in combinations(streams, 2))


def test_a_stream_is_the_same_in_every_release() -> None:
    assert UUID("c010dd83-7b74-5aad-afd7-3d5fa30c3068") == STREAM


# -- the message itself -----------------------------------------------------------------------------------------------


def test_text_is_kept_as_text() -> None:
    assert raw_parts("schön 🙂\x00".encode()) == {"raw": "schön 🙂\x00", "raw_base64": None}


def test_what_is_not_utf_8_is_kept_as_base64() -> None:
    body = b"\xff\xfe\x00"
    assert raw_parts(body) == {"raw": None, "raw_base64": base64.b64encode(body).decode()}


def test_an_empty_message_is_empty_text() -> None:
    assert raw_parts(b"") == {"raw": "", "raw_base64": None}


def test_sixty_four_kibibytes_are_kept() -> None:
    assert RAW_LIMIT_BYTES == 65_536
    body = b"x" * (RAW_LIMIT_BYTES + 5)
    assert raw_parts(body) == {"raw": "x" * RAW_LIMIT_BYTES, "raw_base64": None}
    raw = raw_parts(b"\xff" * (RAW_LIMIT_BYTES + 5))["raw_base64"]
    assert raw is not None
    assert base64.b64decode(raw) == b"\xff" * RAW_LIMIT_BYTES


def test_text_is_never_cut_within_a_character() -> None:
    body = b"x" + "ü".encode() * RAW_LIMIT_BYTES
    raw = raw_parts(body)["raw"]
    assert raw is not None
    assert raw == "x" + "ü" * ((RAW_LIMIT_BYTES - 1) // 2)
    assert len(raw.encode()) == RAW_LIMIT_BYTES - 1
