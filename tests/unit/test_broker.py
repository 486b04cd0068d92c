"""The API's own connection to the broker, when it cannot even be tried."""

import asyncio

import pytest

from api import broker
from api.broker import Broker
from infra.rabbitmq import BrokerError


async def test_an_error_that_nobody_foresaw_is_told_and_the_broker_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broker, "SHORTEST_WAIT", 0.001)
    async with Broker("amqp://guest:guest@127.0.0.1:abc/", "work") as keeping, asyncio.timeout(10):
        while len(caplog.records) < 3:
            await asyncio.sleep(0.001)
        with pytest.raises(BrokerError):
            await keeping.ping()
    assert {record.message for record in caplog.records} == {"RabbitMQ cannot be used"}
    assert all(record.exc_info for record in caplog.records)
