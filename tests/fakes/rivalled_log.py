"""An event log in which others come first, and which loses its connection, at the moment that a test names."""

from collections.abc import Sequence
from uuid import UUID

from domain.errors import StoreError
from domain.event import Event, RecordedEvent
from domain.ports import Append
from tests.builders import APPLICATION_ID
from tests.fakes.event_log import FakeEventLog
from tests.stories import SUBMITTED


class RivalledLog(FakeEventLog):
    """Before each of our appends, a rival's next events get into the same stream."""

    def __init__(self) -> None:
        super().__init__()
        self.rivals: list[Sequence[Event]] = []
        self.fails: list[StoreError] = []
        self.appends: list[Append] = []  # that were tried

    async def append(self, append: Append) -> int:
        self.appends.append(append)
        if self.rivals:
            await self.put(append.events[0].stream_id, *self.rivals.pop(0))
        if self.fails:
            raise self.fails.pop(0)
        return await super().append(append)

    async def put(self, stream_id: UUID, *events: Event) -> None:
        """In the name of whoever began the stream."""
        there = await self.read_stream(stream_id)
        metadata = there[0].metadata if there else SUBMITTED.recorded()[0].metadata
        recorded = [RecordedEvent(stream_id, n, event, metadata) for n, event in enumerate(events, len(there) + 1)]
        await super().append(Append(recorded))

    async def history(self, stream_id: UUID = APPLICATION_ID) -> list[Event]:
        return [recorded.event for recorded in await self.read_stream(stream_id)]
