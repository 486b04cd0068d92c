"""The rules of an idempotency key (contract http.md 1.5)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from uuid import UUID

import pytest

from domain.application_events import ApplicationCancelled
from domain.errors import IdempotencyKeyReused
from domain.event import Cause, Metadata, Owner, RecordedEvent
from domain.idempotency import IdempotencyKey, KeyUsed, key_stream
from tests.builders import START

DAY = 86_400.0
STREAM = key_stream("ada", "POST", "/applications", "key-1")
USED = KeyUsed(content_hash="aa" * 32, status=200, body='{"application_id": "x"}')


def recorded(event: KeyUsed = USED, version: int = 1, at: datetime = START, position: int = 7) -> RecordedEvent:
    metadata = Metadata(UUID(int=version), at, Cause("user:ada"), Owner("ada", 1, at))
    return RecordedEvent(STREAM, version, event, metadata, position)


def test_a_key_that_was_never_used_is_free() -> None:
    key = IdempotencyKey.fold(STREAM, [])
    assert key.replay("aa" * 32, START, DAY) is None
    assert (key.version, key.position) == (0, 0)


def test_the_same_request_gets_the_stored_answer() -> None:
    key = IdempotencyKey.fold(STREAM, [recorded()])
    assert key.replay(USED.content_hash, START + timedelta(hours=1), DAY) == USED


def test_a_replay_gives_the_position_of_the_first_answer() -> None:
    key = IdempotencyKey.fold(STREAM, [recorded()])
    assert (key.version, key.position) == (1, 7)


def test_another_content_is_refused() -> None:
    key = IdempotencyKey.fold(STREAM, [recorded()])
    with pytest.raises(IdempotencyKeyReused):
        key.replay("bb" * 32, START, DAY)


def test_a_key_lives_its_time_from_its_first_use() -> None:
    key = IdempotencyKey.fold(STREAM, [recorded()])
    assert key.replay(USED.content_hash, START + timedelta(seconds=DAY, milliseconds=-1), DAY) == USED
    assert key.replay(USED.content_hash, START + timedelta(seconds=DAY), DAY) is None


def test_after_its_time_another_content_may_use_it() -> None:
    key = IdempotencyKey.fold(STREAM, [recorded()])
    assert key.replay("bb" * 32, START + timedelta(seconds=DAY), DAY) is None


def test_the_next_use_is_the_next_version_and_only_it_counts() -> None:
    later = START + timedelta(days=2)
    newer = USED.model_copy(update={"content_hash": "bb" * 32})
    key = IdempotencyKey.fold(STREAM, [recorded(), recorded(newer, version=2, at=later, position=90)])
    assert (key.version, key.position) == (2, 90)
    assert key.replay("bb" * 32, later, DAY) == newer
    with pytest.raises(IdempotencyKeyReused):
        key.replay(USED.content_hash, later, DAY)


def test_its_use_holds_the_answer() -> None:
    assert IdempotencyKey(STREAM).use(USED.content_hash, 200, USED.body) == [USED]


def test_an_event_that_is_none_of_a_key_does_not_vanish() -> None:
    strange = replace(recorded(), event=ApplicationCancelled(reason="no"))
    with pytest.raises(TypeError):
        IdempotencyKey.fold(STREAM, [strange])


# -- streams ----------------------------------------------------------------------------------------------------------


def test_keys_of_other_users_methods_or_paths_never_meet() -> None:
    streams = [
        key_stream("ada", "POST", "/applications", "k"),
        key_stream("bob", "POST", "/applications", "k"),
        key_stream("ada", "PUT", "/applications", "k"),
        key_stream("ada", "POST", "/batch/applications", "k"),
        key_stream("ada", "POST", "/applications", "K"),
    ]
    assert all(one != other for one, other in combinations(streams, 2))


@pytest.mark.parametrize(
    "shifted",
    [
        lambda: key_stream("ada POST", "/applications", "k", ""),
        lambda: key_stream("ada", "POST /applications", "k", ""),
        lambda: key_stream("", "ada POST", "/applications", "k"),
    ],
)
def test_what_is_in_one_part_never_counts_as_another(shifted: Callable[[], UUID]) -> None:
    assert shifted() != key_stream("ada", "POST", "/applications", "k")


def test_a_stream_is_the_same_in_every_release() -> None:
    assert UUID("3961313b-948b-5362-bc80-67371eda202c") == STREAM
