"""What a listener is given, however much comes while he is being given something else (contract http.md 13)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from api import listeners
from api.listeners import NOTHING, Ending, Listener, Told
from domain.errors import ReadModelBehind
from projections.queries import Update, UpdateId

QUIET = 0.05  # seconds of silence


def an_update(position: int, application_id: str | None = "a") -> Update:
    message = {"type": "status_update", "application_id": application_id, "status": "pending"}
    return Update(UpdateId(position), "ada", application_id, message)


@dataclass
class Store:
    """Feed and history over a list: what is told is stored before."""

    updates: list[Update] = field(default_factory=list)
    told: UpdateId | None = NOTHING
    listener: Listener = field(init=False)
    troubles: int = 0
    meanwhile: Callable[[], None] = lambda: None  # while a page is being read

    def tell(self, *positions: int, application_id: str | None = "a") -> None:
        for position in positions:
            update = an_update(position, application_id)
            self.updates.append(update)
            self.told = update.id
            self.listener.hear(Told.of(update))

    async def found(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return self.told is not None

    async def pages(
        self, user_id: str, after: UpdateId, upto: UpdateId, application_ids: Collection[str]
    ) -> AsyncGenerator[Sequence[Update], None]:
        if self.troubles:
            self.troubles -= 1
            raise ReadModelBehind("not now")
        between = [one for one in self.updates if after < one.id <= upto]
        self.meanwhile()
        for one in between:
            if not application_ids or one.application_id in application_ids:
                yield [one]


@pytest.fixture
async def store() -> Store:
    store = Store()
    stand_in = cast(Any, StandIn(store))
    store.listener = Listener("ada", stand_in, stand_in)
    return store


@dataclass
class StandIn:
    """For the feed and for the history of a listener."""

    store: Store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[AsyncGenerator[Sequence[Told], None]]:
    async with aclosing(store.listener.updates(QUIET)) as updates:
        yield updates


async def given(updates: AsyncGenerator[Sequence[Told], None]) -> list[int]:
    """Positions of all that he is given until nothing comes."""
    found: list[int] = []
    while some := await anext(updates):
        found += [told.id.position for told in some]
    return found


async def test_he_is_given_what_is_stored_and_then_what_is_told(store: Store) -> None:
    store.tell(1, 2, 3)
    store.listener.after = UpdateId(1)
    async with following(store) as updates:
        assert await given(updates) == [2, 3]
        store.tell(4, 5)
        assert await given(updates) == [4, 5]


async def test_what_is_told_while_the_store_is_read_comes_after_it_once(store: Store) -> None:
    store.tell(1, 2)
    store.meanwhile = lambda: store.tell(*([3, 4] if store.told == UpdateId(2) else []))
    async with following(store) as updates:
        assert await given(updates) == [1, 2, 3, 4]


@pytest.mark.parametrize("kept", [1, 2, 3])
async def test_more_than_is_kept_is_given_from_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(listeners, "KEPT", kept)
    async with following(store) as updates:
        assert await given(updates) == []
        store.tell(*range(1, 10))
        first = [told.id.position for told in await anext(updates)]
        store.tell(10, 11)  # after a gap: it is not kept
        assert [*first, *await given(updates)] == list(range(1, 12))
        assert store.listener.after == UpdateId(11)


async def test_many_bytes_are_more_than_is_kept_as_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "KEPT_BYTES", 2 * len(Told.of(an_update(1)).event))
    async with following(store) as updates:
        assert await given(updates) == []
        store.tell(*range(1, 8))
        assert len(store.listener._kept) == 2
        assert await given(updates) == list(range(1, 8))


async def test_who_has_seen_more_elsewhere_is_told_nothing_twice(store: Store) -> None:
    store.tell(1, 2)
    store.listener.after = UpdateId(4)  # a replica that is ahead of this one told him so
    async with following(store) as updates:
        assert await given(updates) == []
        store.tell(3, 4, 5)
        assert await given(updates) == [5]


async def test_a_narrowed_one_is_given_only_his_applications(store: Store) -> None:
    store.tell(1)
    store.tell(2, application_id="b")
    store.listener.application_ids = {"b"}
    async with following(store) as updates:
        assert await given(updates) == [2]
        store.tell(3)
        store.tell(4, application_id=None)
        store.tell(5, application_id="b")
        assert await given(updates) == [5]


async def test_while_the_feed_has_no_place_he_waits(store: Store) -> None:
    store.told = None
    async with following(store) as updates:
        assert [len(await anext(updates)) for _ in range(2)] == [0, 0]
        store.told = UpdateId(0)
        assert await given(updates) == []
        store.tell(1)
        assert await given(updates) == [1]


async def test_a_store_that_cannot_be_read_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "AGAIN_SECONDS", 0.01)
    store.tell(1)
    store.troubles = 3
    async with following(store) as updates:
        assert [len(await anext(updates)) for _ in range(3)] == [0, 0, 0]
        assert await given(updates) == [1]


async def test_the_first_reason_of_an_end_counts(store: Store) -> None:
    store.listener.end(Ending.EXPIRED)
    store.listener.end(Ending.SHUTDOWN)
    assert await store.listener.over is Ending.EXPIRED


def test_an_update_is_an_event_and_a_message_of_the_same_words() -> None:
    told = Told.of(an_update(7))
    assert told.text == b'{"type":"status_update","application_id":"a","status":"pending"}'
    assert told.event == b"id: 7\nevent: status_update\ndata: " + told.text + b"\n\n"
