"""What the API tells of the whole service, and its own connection to RabbitMQ (contract metrics.md 1, http.md 10)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from aio_pika import Message

from api.broker import Broker
from api.gauges import Gauges
from api.publish_rates import PublishRates
from domain.application_events import Status
from domain.errors import StoreUnavailable
from domain.ports import Claim
from infra import metrics
from infra.messages import DeadLetterKind
from infra.rabbitmq import BrokerError, connect, declare_queue
from infra.relay_store import LEASE, Progress, RelayStore, Totals
from tests.api import Api, a_story, running_api, settings_for, until
from tests.tcp_proxy import TcpProxy

DEAD = DeadLetterKind("work", "PortalRefusedError")


@pytest.fixture
async def api(
    sqlite_url: str, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, queue_prefix: str
) -> AsyncIterator[Api]:
    names = {
        "application_processing_queue": f"{queue_prefix}work",
        "middleware_queue": f"{queue_prefix}notes",
        "application_dlq": f"{queue_prefix}dead",
    }
    async with running_api(
        settings_for(sqlite_url, mongodb_uri, mongo_database, rabbitmq_url=rabbitmq_url, **names)
    ) as api:
        yield api


def gauges_of(api: Api, broker: Broker, *queues: str) -> Gauges:
    return Gauges(api.event_store, api.deps.queries, broker, api.deps.clock, queues, PublishRates())


async def connected(broker: Broker) -> bool:
    try:
        await broker.ping()
    except BrokerError:
        return False
    return True


async def test_with_everything_there_it_is_healthy(api: Api) -> None:
    async def is_healthy() -> bool:
        return (await api.ask("GET", "/health")).status == 200

    await until(is_healthy, "the broker is connected")
    health = (await api.ask("GET", "/health")).json
    assert health["status"] == "healthy"
    assert [one["status"] for one in health["dependencies"]] == ["healthy"] * 3
    assert (await api.ask("GET", "/health/ready")).json["checks"]["rabbitmq"] == "ready"


async def test_a_lost_connection_to_the_broker_is_made_anew(rabbitmq_url: str, queue_prefix: str) -> None:
    address = urlsplit(rabbitmq_url)
    assert address.hostname
    assert address.port
    cut = f"{queue_prefix}cut"
    async with TcpProxy(address.hostname, address.port, cut_at=cut.encode()) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.listens}/"
        async with Broker(url, cut) as broker:
            await until(lambda: _was_cut(broker, proxy), "the connection was cut")
            await until(lambda: connected(broker), "it is connected again")
            assert proxy.cuts == 1


async def _was_cut(broker: Broker, proxy: TcpProxy) -> bool:
    await connected(broker)
    return proxy.cuts > 0


async def test_without_a_broker_asking_fails_at_once() -> None:
    async with Broker("amqp://guest:guest@127.0.0.1:1/", "work") as broker:
        with pytest.raises(BrokerError):
            await broker.ping()


async def test_applications_are_counted_by_status(api: Api) -> None:
    ada = api.user()
    submitted = a_story(ada).submitted()
    stories = (submitted, a_story(ada).submitted().started(), a_story(ada).submitted().cancelled())
    position = max([await api.happened(story) for story in stories])
    await ada.get("/applied", at_least=position)
    await ada.get(f"/applications/{submitted.id.hex}/status", at_least=position)
    await gauges_of(api, Broker("amqp://127.0.0.1:1/", "x")).applications()
    counts = {status: metrics.APPLICATIONS_BY_STATUS.value(status=status) for status in Status}
    assert counts == {"pending": 1, "processing": 1, "success": 0, "failed": 0, "cancelled": 1}
    assert metrics.APPLICATIONS_PENDING_TOTAL.value() == 1


async def test_the_lag_is_measured_against_the_log(sqlite_url: str, mongodb_uri: str, mongo_database: str) -> None:
    settings = settings_for(sqlite_url, mongodb_uri, mongo_database)
    async with running_api(settings) as api:
        gauges = gauges_of(api, Broker("amqp://127.0.0.1:1/", "x"))
        await gauges.lags()
        assert metrics.PROJECTION_LAG_EVENTS.value(projection="status") == 0
        assert metrics.PROJECTION_LAG_SECONDS.value(projection="status") == 0
    async with running_api(settings, projected=False) as api:
        old = datetime.now(UTC) - timedelta(minutes=2)
        await api.happened(a_story(api.user(), at=old).submitted().started())
        await gauges_of(api, Broker("amqp://127.0.0.1:1/", "x")).lags()
        for model in ("status", "applied", "failed", "totals"):
            assert metrics.PROJECTION_LAG_EVENTS.value(projection=model) == 2
            assert 119 < metrics.PROJECTION_LAG_SECONDS.value(projection=model) < 150


async def test_while_the_read_models_cannot_be_asked_their_lag_grows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> dict[str, int]:
        raise StoreUnavailable("The database cannot be reached")

    gauges = gauges_of(api, Broker("amqp://127.0.0.1:1/", "x"))
    await gauges.lags()
    await api.happened(a_story(api.user()).submitted().started())
    monkeypatch.setattr(type(api.deps.queries), "positions", lambda _: away())
    with pytest.raises(StoreUnavailable):
        await gauges.lags()
    assert metrics.PROJECTION_LAG_EVENTS.value(projection="status") == 2


async def test_the_depth_of_the_queues_is_told(api: Api, rabbitmq_url: str, queue_prefix: str) -> None:
    there, missing = f"{queue_prefix}there", f"{queue_prefix}missing"
    async with connect(rabbitmq_url, "test") as connection, Broker(rabbitmq_url, there) as broker:
        await declare_queue(connection, there, "")
        async with connection.channel() as channel:
            queue = await channel.get_queue(there)
            for _ in range(3):
                await channel.default_exchange.publish(Message(b"x"), there)
            await until(lambda: connected(broker), "the broker is connected")
            await gauges_of(api, broker, there, missing).queues()
            await queue.delete(if_empty=False)
    assert metrics.QUEUE_DEPTH.value(queue_name=there) == 3
    assert metrics.QUEUE_DEPTH.value(queue_name=missing) == 0


async def test_what_the_relay_has_published_is_told(api: Api) -> None:
    assert await api.event_store.claims.take(Claim(LEASE, "relay-1", 30))
    totals = Totals({"work": 7}, {"work": 2}, {DEAD: 3})
    await RelayStore(api.event_store.database, "relay-1").save(Progress({}, [], [], totals))
    await gauges_of(api, Broker("amqp://127.0.0.1:1/", "x")).relay_totals()
    told = (await api.ask("GET", "/metrics")).body.decode().splitlines()
    assert 'queue_messages_published_total{queue_name="work"} 7' in told
    assert 'queue_publish_failures_total{queue_name="work"} 2' in told
    assert 'dlq_messages_total{error_type="PortalRefusedError",original_queue="work"} 3' in told


async def test_probing_opens_no_connection(api: Api) -> None:
    """Those of the pool are used; others that work at the same time may make it grow by a few."""

    async def is_healthy() -> bool:
        return (await api.ask("GET", "/health")).status == 200

    async def probe() -> None:
        for path in ("/health", "/health/ready"):
            assert (await api.ask("GET", path)).status == 200

    await until(is_healthy, "the broker is connected")
    await probe()
    broker = api.deps.broker.connection
    before = await connections_made(api)
    for _ in range(30):
        await probe()
    assert await connections_made(api) - before < 5
    assert api.deps.broker.connection is broker


async def connections_made(api: Api) -> int:
    """So far, to MongoDB. Asked over one of the API's own."""
    told = await api.deps.cvs._cvs.database.client.admin.command("serverStatus")
    made: int = told["connections"]["totalCreated"]
    return made
