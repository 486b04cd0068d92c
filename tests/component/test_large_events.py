"""Events that hold megabytes are read a few at a time, so that no reader's memory grows with them."""

from uuid import uuid4

from domain.application_events import ApplicationCancelled
from domain.ports import Append
from infra.event_log import open_event_log
from infra.log_database import READ_BYTES
from tests.contract.test_event_log import event, everything


async def test_large_events_are_read_a_few_at_a_time_and_none_is_left_out(event_store_url: str) -> None:
    stream, text = uuid4(), "x" * (READ_BYTES // 3)
    async with open_event_log(event_store_url) as store:
        for version in range(1, 6):
            await store.log.append(Append([event(stream, version, ApplicationCancelled(reason=text))]))
        assert 1 <= len(await store.log.read(0, 100)) < 5
        assert [one.version for one in await everything(store)] == [1, 2, 3, 4, 5]


async def test_an_event_larger_than_that_is_read_alone(event_store_url: str) -> None:
    async with open_event_log(event_store_url) as store:
        for text in ("x" * (READ_BYTES + 1), "small"):
            await store.log.append(Append([event(uuid4(), 1, ApplicationCancelled(reason=text))]))
        assert len(await store.log.read(0, 100)) == 1
