"""One queue's lane: in order for each application, bounded, and nothing is lost when the broker refuses or goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import pytest

from consumers.backoff import Backoff
from consumers.feed import Parcel
from consumers.lane import IN_FLIGHT_MAX, IN_HAND_MAX, Lane
from infra.messages import Message, QueueKind
from infra.rabbitmq import BrokerError, Publisher, Settled
from tests.builders import START
from tests.workshop import until


class FakeBroker:
    """Takes messages and settles them by `confirm`; `refuses` says which it refuses."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.in_flight: list[Message] = []
        self.most_in_flight = 0
        self.refuses: Callable[[Message], bool] = lambda _: False
        self.away = False
        self.confirms_by_itself = True
        self.opened = 0

    @asynccontextmanager
    async def open(self, settled: Settled) -> AsyncIterator[Publisher]:
        if self.away:
            raise BrokerError("away")
        self.opened += 1
        self._settled = settled
        self.in_flight = []
        self.closed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        yield cast(Publisher, self)

    async def send(self, messages: Sequence[Message]) -> None:
        self.in_flight.extend(messages)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        if self.confirms_by_itself:
            asyncio.get_running_loop().call_soon(self.confirm)
        await asyncio.sleep(0)

    async def is_blocked(self) -> bool:
        return False

    def confirm(self) -> None:
        """All that is in flight."""
        settled, self.in_flight = self.in_flight, []
        for message in settled:
            refused = self.refuses(message)
            if not refused:
                self.arrived.append(message.message_id)
            self._settled(message, "full" if refused else None)

    def lose_connection(self) -> None:
        self.closed.set_result(None)


class Told:
    """A `lane.Progress`."""

    def __init__(self) -> None:
        self.published_ids: list[str] = []
        self.failures = 0

    def published(self, parcel: Parcel) -> None:
        self.published_ids.append(parcel.message.message_id)

    def not_published(self, parcel: Parcel) -> None:
        self.failures += 1


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def lane(broker: FakeBroker, told: Told) -> AsyncIterator[Lane]:
    lane = Lane("work", broker.open, told, backoff=Backoff(first=0.01, longest=0.02))
    running = asyncio.create_task(lane.run())
    yield lane
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def a_parcel(position: int, application: int | None = None) -> Parcel:
    """The message of the event at that position; each of an application of its own, if none is named."""
    message = Message(QueueKind.PROCESSING, str(position), b"{}")
    return Parcel(message, position, UUID(int=position if application is None else application), START)


async def put(lane: Lane, *parcels: Parcel) -> None:
    for parcel in parcels:
        await lane.put(parcel)


async def test_all_is_published_in_order(lane: Lane, broker: FakeBroker, told: Told) -> None:
    await put(lane, *(a_parcel(n) for n in range(1, 201)))
    await lane.empty()
    assert broker.arrived == told.published_ids == [str(n) for n in range(1, 201)]
    assert lane.oldest is None


async def test_many_are_in_flight_and_no_more_than_allowed(lane: Lane, broker: FakeBroker) -> None:
    await put(lane, *(a_parcel(n) for n in range(20)))
    await lane.empty()
    broker.confirms_by_itself = False
    await put(lane, *(a_parcel(n) for n in range(20, IN_HAND_MAX)))
    await until(lambda: len(broker.in_flight) == IN_FLIGHT_MAX)
    await asyncio.sleep(0.01)
    assert broker.most_in_flight == IN_FLIGHT_MAX


async def test_who_puts_waits_when_there_is_too_much_in_hand(lane: Lane, broker: FakeBroker) -> None:
    broker.confirms_by_itself = False
    await put(lane, *(a_parcel(n) for n in range(IN_HAND_MAX)))
    more = asyncio.create_task(lane.put(a_parcel(IN_HAND_MAX)))
    await asyncio.sleep(0.01)
    assert not more.done()
    broker.confirm()
    await asyncio.wait_for(more, 1)


async def test_the_oldest_in_hand_is_what_a_checkpoint_must_not_pass(lane: Lane, broker: FakeBroker) -> None:
    await put(lane, *(a_parcel(n) for n in range(10, 20)))
    await lane.empty()
    broker.arrived.clear()
    broker.refuses = lambda message: message.message_id == "1"
    await put(lane, a_parcel(1), a_parcel(2), a_parcel(3))
    await until(lambda: broker.arrived == ["2", "3"])
    assert lane.oldest is not None
    assert lane.oldest.position == 1


async def test_the_next_message_of_an_application_waits_for_the_one_before(lane: Lane, broker: FakeBroker) -> None:
    await put(lane, *(a_parcel(n) for n in range(10, 20)))
    await lane.empty()
    broker.arrived.clear()
    full = True
    broker.refuses = lambda message: full and message.message_id == "1"
    await put(lane, a_parcel(1, application=7), a_parcel(2, application=7), a_parcel(3, application=8))
    await until(lambda: "3" in broker.arrived)
    await until(lambda: broker.opened >= 3)
    assert broker.arrived == ["3"]
    full = False
    await lane.empty()
    assert broker.arrived == ["3", "1", "2"]


async def test_after_a_refusal_one_message_is_tried_first(lane: Lane, broker: FakeBroker, told: Told) -> None:
    await put(lane, *(a_parcel(n) for n in range(20)))
    await lane.empty()
    broker.refuses = lambda _: True
    await put(lane, *(a_parcel(n) for n in range(20, 120)))
    await until(lambda: broker.opened >= 2)
    refused, opened = told.failures, broker.opened
    await until(lambda: broker.opened >= opened + 3)
    assert told.failures - refused <= 4
    broker.refuses = lambda _: False
    await lane.empty()
    assert sorted(told.published_ids, key=int) == [str(n) for n in range(120)]


async def test_what_was_in_flight_when_the_connection_was_lost_goes_out_again(
    lane: Lane, broker: FakeBroker, told: Told
) -> None:
    broker.confirms_by_itself = False
    await put(lane, a_parcel(1), a_parcel(2))
    await until(lambda: bool(broker.in_flight))
    broker.lose_connection()
    broker.confirms_by_itself = True
    await lane.empty()
    assert told.published_ids == ["1", "2"]
    assert told.failures == 1, "one had been sent"


async def test_a_broker_that_is_away_is_waited_for(lane: Lane, broker: FakeBroker, told: Told) -> None:
    broker.away = True
    broker.confirms_by_itself = True
    await until(lambda: broker.opened == 1)
    broker.lose_connection()
    await put(lane, a_parcel(1))
    await asyncio.sleep(0.05)
    assert told.published_ids == []
    broker.away = False
    await lane.empty()
    assert told.published_ids == ["1"]


async def test_a_lane_that_is_switched_off_publishes_nothing(broker: FakeBroker, told: Told) -> None:
    lane = Lane("work", broker.open, told, enabled=False)
    running = asyncio.create_task(lane.run())
    await put(lane, a_parcel(1))
    await asyncio.sleep(0.02)
    assert (broker.opened, told.published_ids) == (0, [])
    assert lane.in_hand == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_lane_that_drains_sends_no_more_and_waits_for_what_it_sent(
    lane: Lane, broker: FakeBroker, told: Told
) -> None:
    broker.confirms_by_itself = False
    await put(lane, a_parcel(1), a_parcel(2))
    await until(lambda: bool(broker.in_flight))
    drained = asyncio.create_task(lane.drained())
    await asyncio.sleep(0.01)
    assert not drained.done()
    broker.confirm()
    await asyncio.wait_for(drained, 1)
    assert told.published_ids == ["1"]
