"""The API's own connection to RabbitMQ, for what asks the broker something; no submission and no read needs it.

It is made in the background, so that it holds up neither the start nor a request, and made anew with a back-off of
1 to 30 s whenever it is lost, or cannot be made for a reason that nobody foresaw. While there is none, asking fails at
once.
"""

import asyncio
import contextlib
import logging
from typing import Self

from aio_pika.abc import AbstractConnection

from infra.rabbitmq import BrokerError, connect, find_queue

logger = logging.getLogger(__name__)

SHORTEST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds


class Broker:
    """Used as an async context manager."""

    def __init__(self, url: str, queue: str) -> None:
        self._url, self._queue = url, queue
        self._connection: AbstractConnection | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep_connected(), name="api-broker")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._keeper is not None, "it was entered"
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    @property
    def connection(self) -> AbstractConnection:
        """Raises BrokerError while there is none."""
        if self._connection is None:
            raise BrokerError("RabbitMQ: not connected")
        return self._connection

    async def ping(self) -> None:
        """Raises BrokerError when the broker does not answer."""
        await find_queue(self.connection, self._queue)

    async def _keep_connected(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                async with connect(self._url, "api") as connection:
                    wait = SHORTEST_WAIT
                    await self._use_until_lost(connection)
            except BrokerError:
                logger.warning("RabbitMQ is away", extra={"event_type": "rabbitmq_away"})
            except Exception:  # nobody else would make it again, or say why not
                logger.exception("RabbitMQ cannot be used", extra={"event_type": "rabbitmq_away"})
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _use_until_lost(self, connection: AbstractConnection) -> None:
        lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        self._connection = connection
        try:
            await lost.wait()
        finally:
            self._connection = None
