"""A real broker as its other users see it: looks into queues, puts messages there, makes and removes queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from infra.messages import QueueNames
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Queues:
    """Those of one test."""

    url: str
    prefix: str

    @property
    def names(self) -> QueueNames:
        return QueueNames(f"{self.prefix}work", f"{self.prefix}news", f"{self.prefix}dead")

    def settings(self, **more: Any) -> Settings:
        names = self.names
        return Settings(
            rabbitmq_url=self.url,
            application_processing_queue=names.processing,
            middleware_queue=names.notifications,
            application_dlq=names.dead_letters,
            **more,
        )

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        connection = await aio_pika.connect(self.url)
        async with connection:
            yield await connection.channel()

    async def make(self, name: str, arguments: dict[str, Any] | None = None, *, durable: bool = True) -> None:
        async with self.channel() as channel:
            await channel.declare_queue(name, durable=durable, arguments=arguments)

    async def remove(self, *names: str) -> None:
        async with self.channel() as channel:
            for name in names or (self.names.processing, self.names.notifications, self.names.dead_letters):
                await channel.queue_delete(name)

    async def purge(self, name: str) -> None:
        async with self.channel() as channel:
            await (await channel.get_queue(name)).purge()

    async def put(self, name: str, body: bytes | dict[str, Any], **properties: Any) -> None:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.channel() as channel:
            message = aio_pika.Message(content, delivery_mode=2, **properties)
            await channel.default_exchange.publish(message, routing_key=name)

    async def take(self, name: str, count: int, seconds: float = 15.0) -> list[AbstractIncomingMessage]:
        """The next `count` messages, taken away. Raises TimeoutError when there are fewer."""
        taken: list[AbstractIncomingMessage] = []
        async with asyncio.timeout(seconds), self.channel() as channel:
            while len(taken) < count:
                try:
                    found = await (await channel.get_queue(name, ensure=False)).get(fail=False)
                except aio_pika.exceptions.ChannelClosed:
                    await channel.reopen()
                    found = None
                if found is None:
                    await asyncio.sleep(0.02)
                else:
                    await found.ack()
                    taken.append(found)
        return taken

    async def depth(self, name: str) -> int:
        """How many messages are ready. Raises for a queue that is missing."""
        async with self.channel() as channel:
            found = await channel.declare_queue(name, passive=True)
            return found.declaration_result.message_count or 0

    async def until_depth(self, name: str, depth: int, seconds: float = 15.0) -> None:
        """Waits until so many are ready. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self.channel() as channel:
            while True:
                try:
                    found = await channel.declare_queue(name, passive=True)
                except aio_pika.exceptions.ChannelClosed:
                    await channel.reopen()
                else:
                    if found.declaration_result.message_count == depth:
                        return
                await asyncio.sleep(0.02)


def content(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The JSON object of a message."""
    body: dict[str, Any] = orjson.loads(message.body)
    return body
