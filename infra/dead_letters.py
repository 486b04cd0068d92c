"""Taking from a queue one by one, for operators: dead letters are read by nobody else (contract messaging.md 4)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import aiormq
import orjson
from aio_pika.abc import AbstractConnection

from infra.messages import QueueKind
from infra.rabbitmq import ANSWER_SECONDS, broker_errors, open_channel

AS_IT_CAME = {"raw", "raw_base64"}  # the message of such a letter (contract messaging.md 4)
MESSAGE_ID = re.compile(rf"([0-9a-f]{{32}})-([0-9]{{1,9}})-{QueueKind.DEAD_LETTERS}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that the broker keeps until it is removed.

    `readable`: it tells of an application, and not of a message that could not be read. `failure` is the failure that
    it tells of: its stream, and the version of its ApplicationFailed; None for a letter that is not of our making.
    """

    tag: int
    message_id: str | None
    readable: bool
    failure: tuple[UUID, int] | None


class Taker:
    """Takes letters of one queue. What is taken and not removed goes back to it in the end."""

    def __init__(self, channel: aiormq.Channel, queue: str) -> None:
        self._channel, self._queue = channel, queue

    async def take(self) -> Letter | None:
        """The next one, None when there is none. Raises BrokerError."""
        with broker_errors():
            got = await self._channel.basic_get(self._queue, timeout=ANSWER_SECONDS)
        if got.delivery_tag is None:
            return None
        message_id = got.header.properties.message_id or None
        return Letter(got.delivery_tag, message_id, _readable(got.body), _failure(message_id))

    async def remove(self, letter: Letter) -> None:
        """Raises BrokerError when the connection is lost: then it comes again."""
        with broker_errors():
            await self._channel.basic_ack(letter.tag, wait=True)


@asynccontextmanager
async def taking(connection: AbstractConnection, queue: str) -> AsyncIterator[Taker]:
    """Raises BrokerError."""
    with broker_errors():
        async with open_channel(connection) as channel:
            yield Taker(channel, queue)


async def purge(connection: AbstractConnection, queue: str) -> int:
    """Removes what is ready, and tells how much that was; 0 for a queue that does not exist. Raises BrokerError."""
    with broker_errors():
        try:
            async with asyncio.timeout(ANSWER_SECONDS), open_channel(connection) as channel:
                purged = await channel.queue_purge(queue)
        except aiormq.ChannelNotFoundEntity:
            return 0
    return (purged.message_count or 0) if purged else 0


def _readable(body: bytes) -> bool:
    """A message may name an application and be unreadable all the same: then its letter holds it as it came."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(content, dict) or not isinstance(content.get("application_id"), str):
        return False
    original = content.get("original_message")
    return not (isinstance(original, dict) and original.keys() & AS_IT_CAME)


def _failure(message_id: str | None) -> tuple[UUID, int] | None:
    found = MESSAGE_ID.fullmatch(message_id or "")
    return (UUID(found[1]), int(found[2])) if found else None
