"""The reader of server-sent events: whatever the standard allows, however it is cut into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.server_events import EventReader, ServerEvent

STREAM = (
    "\ufeffretry: 3000\n\nevent: connected\ndata: {}\n\n: still here\n\n"
    "id: 7\nevent: status_update\ndata: über 1\ndata:  two\n\ndata\n\n"
    "id: 8\n\nignored: x\ndata: 😀\n\ndata: never ended"
)
EVENTS = [
    ServerEvent("connected", "{}", ""),
    ServerEvent("status_update", "über 1\n two", "7"),
    ServerEvent("message", "", "7"),
    ServerEvent("message", "😀", "8"),
]


def read(*chunks: bytes) -> list[ServerEvent]:
    reader = EventReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
def test_every_end_of_a_line_is_one(end: str) -> None:
    assert read(STREAM.replace("\n", end).encode()) == EVENTS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
@given(cuts=st.lists(st.integers(0, 250)))
def test_chunks_may_begin_and_end_anywhere(end: str, cuts: list[int]) -> None:
    stream = STREAM.replace("\n", end).encode()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read(*(stream[a:b] for a, b in pairwise(places))) == EVENTS


def test_byte_by_byte_is_the_same() -> None:
    assert read(*(bytes([byte]) for byte in STREAM.replace("\n", "\r\n").encode())) == EVENTS


def test_an_event_is_there_as_soon_as_its_blank_line_is() -> None:
    reader = EventReader()
    assert reader.feed(b"data: 1\r\n") == []
    assert reader.feed(b"\r\n") == [ServerEvent("message", "1", "")]


def test_lines_of_data_are_one_text() -> None:
    [event] = read(b'data: {"a":\ndata: 1}\n\n')
    assert event.data == '{"a":\n1}'


def test_one_space_after_the_colon_is_not_part_of_the_value() -> None:
    assert [event.data for event in read(b"data:x\n\ndata: x\n\ndata:  x\n\n")] == ["x", "x", " x"]


def test_a_comment_and_an_event_without_data_tell_nothing() -> None:
    assert read(b": a comment\n\n:\n\nevent: x\n\n") == []


def test_the_name_is_that_of_one_event_and_the_id_stays() -> None:
    assert read(b"event: x\nid: 5.1\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n") == [
        ServerEvent("x", "1", "5.1"),
        ServerEvent("message", "2", "5.1"),
        ServerEvent("message", "3", ""),
    ]


def test_an_id_without_data_is_that_of_the_next_event() -> None:
    assert read(b"id: 5\n\ndata: 1\n\n") == [ServerEvent("message", "1", "5")]


def test_an_id_that_no_header_can_hold_is_passed_over() -> None:
    assert read(b"id: 5\nid: 6\x00\ndata: 1\n\n") == [ServerEvent("message", "1", "5")]


def test_bytes_that_are_no_text_do_not_end_the_stream() -> None:
    assert read(b"data: \xff\n\ndata: 2\n\n") == [ServerEvent("message", "\ufffd", ""), ServerEvent("message", "2", "")]
