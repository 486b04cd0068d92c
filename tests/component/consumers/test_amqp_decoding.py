"""Messages whose properties the client library cannot read, on a real RabbitMQ (contract messaging.md 3).

No client library writes such properties, so these frames are put together here. The flags and kinds are AMQP 0-9-1's.
"""

import struct
from collections.abc import Mapping

import pamqp.frame
import pytest
from aiormq.abc import ChannelFrame
from pamqp import decode
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from domain.commands import ApplicationCommands
from domain.rejected_message import message_stream
from infra.amqp_decoding import SIZED, SIZES, decode_tolerantly
from infra.dead_letters import taking
from infra.event_log import EventStore
from infra.rabbitmq import connect, open_channel, open_consumer
from infra.settings import Settings
from tests.component.consumers.at_work import ended, submit, working
from tests.queues import Queues, content

HEADERS, CORRELATION_ID, MESSAGE_ID, TIMESTAMP, TYPE, MORE_FLAGS = 0x2000, 0x0400, 0x0080, 0x0040, 0x0020, 0x0001
METHOD_FRAME, HEADER_FRAME, BODY_FRAME = 1, 2, 3
BASIC, PUBLISH = 60, 40
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Properties = Mapping[int, bytes]  # by flag; the highest goes first


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def header(name: bytes, kind_and_value: bytes) -> bytes:
    return short(name) + kind_and_value


def time(value: int) -> bytes:
    return struct.pack(">Q", value)


def arrays_in_arrays(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"A" + long(value)
    return value


TRACEPARENT = header(b"traceparent", b"S" + long(TRACE.encode()))
UNREADABLE: Mapping[str, Properties] = {
    "a timestamp in microseconds": {TIMESTAMP: time(1_900_000_000_000_000)},
    "a timestamp that no clock has": {TIMESTAMP: time(2**62)},
    "the largest timestamp": {TIMESTAMP: time(2**64 - 1)},
    "a message id": {MESSAGE_ID: short(b"m-\xff")},
    "a correlation id": {CORRELATION_ID: short(b"\xff" * 255)},
    "a type": {TYPE: short(b"\xc3")},
    "a header's key": {HEADERS: long(header(b"k\xff", b"V"))},
    "a header's time": {HEADERS: long(header(b"k", b"T" + time(2**62)))},
    "a header's text": {HEADERS: long(header(b"traceparent", b"S" + long(b"\xff")))},
    "arrays deeper than Python's stack": {HEADERS: long(header(b"k", arrays_in_arrays(3_000)))},
    "a time in an array": {HEADERS: long(header(b"k", b"A" + long(b"T" + time(2**62))))},
    "a key in an inner table": {HEADERS: long(header(b"k", b"F" + long(header(b"\xff", b"V"))))},
    "flags that do not follow": {MORE_FLAGS: b""},
}
each_unreadable = pytest.mark.parametrize("properties", UNREADABLE.values(), ids=UNREADABLE)


def content_header(properties: Properties, body: bytes = b"") -> bytes:
    encoded = b"".join(properties[flag] for flag in sorted(properties, reverse=True))
    return struct.pack(">HHQH", BASIC, 0, len(body), sum(properties)) + encoded


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


@pytest.fixture
async def work(queues: Queues) -> str:
    await queues.make(queues.names.processing)
    return queues.names.processing


async def put(
    queues: Queues, queue: str, properties: Properties, body: bytes = b"{}", exchange: bytes = b"", key: bytes = b""
) -> None:
    """Returns when the broker has it. Raises BrokerError when it refuses the frames."""
    publish = struct.pack(">HHH", BASIC, PUBLISH, 0) + short(exchange) + short(key or queue.encode()) + b"\x00"
    async with connect(queues.url, "test") as connection, open_channel(connection) as channel:
        frames = (METHOD_FRAME, publish), (HEADER_FRAME, content_header(properties, body)), (BODY_FRAME, body)
        payload = b"".join(frame(kind, channel.number, part) for kind, part in frames)
        await channel.write_queue.put(ChannelFrame(payload, should_close=False))
        await channel.queue_declare(queue, passive=True)  # answered after what came before it on this channel


def headers_of(properties: Properties) -> FieldTable | None:
    """As any connection of this process reads them, without a broker."""
    decode_tolerantly()
    _, _, read = pamqp.frame.unmarshal(frame(HEADER_FRAME, 1, content_header(properties)))
    assert isinstance(read, ContentHeader)
    return read.properties.headers


# -- consuming and taking ---------------------------------------------------------------------------------------------


@each_unreadable
async def test_a_delivery_comes_with_what_can_be_read_and_the_next_one_follows(
    queues: Queues, work: str, properties: Properties
) -> None:
    await put(queues, work, properties, b"one")
    await queues.put(work, b"two", message_id="m-2", correlation_id="c-2", headers={"traceparent": TRACE})
    async with open_consumer(queues.url, work, "", 10) as consumer:
        one, two = await consumer.next(), await consumer.next()
        assert (one.body, one.traceparent) == (b"one", None)
        assert (two.body, two.message_id, two.correlation_id, two.traceparent) == (b"two", "m-2", "c-2", TRACE)
        await consumer.acknowledge(one)
        await consumer.acknowledge(two)
    assert await queues.depth(work) == 0


@each_unreadable
async def test_operators_can_take_it_and_the_next_one(queues: Queues, work: str, properties: Properties) -> None:
    await put(queues, work, properties, b'{"application_id": "a"}')
    await queues.put(work, b"two", message_id="m-2")
    async with connect(queues.url, "test") as connection, taking(connection, work) as taker:
        one, two = await taker.take(), await taker.take()
        assert one
        assert two
        assert (one.readable, two.message_id) == (True, "m-2")
        await taker.remove(one)
    assert await queues.depth(work) == 1


async def test_a_routing_key_of_any_bytes_is_delivered(queues: Queues, work: str) -> None:
    async with connect(queues.url, "test") as connection, open_channel(connection) as channel:
        await channel.queue_bind(work, "amq.topic", routing_key=f"{work}.*")
    await put(queues, work, {}, b"one", b"amq.topic", work.encode() + b".\xff")
    async with open_consumer(queues.url, work, "", 10) as consumer:
        assert (await consumer.next()).body == b"one"


async def test_what_can_be_read_is_kept_beside_what_cannot(queues: Queues, work: str) -> None:
    headers = header(b"\xff", b"S" + long(b"\xff")) + header(b"k", b"T" + time(2**62)) + TRACEPARENT
    await put(
        queues,
        work,
        {
            HEADERS: long(headers),
            CORRELATION_ID: short(b"c-1"),
            MESSAGE_ID: short("m-é".encode()),
            TIMESTAMP: time(2**62),
            TYPE: short(b"\xff"),
            MORE_FLAGS: b"",
        },
    )
    async with open_consumer(queues.url, work, "", 10) as consumer:
        one = await consumer.next()
    assert (one.correlation_id, one.message_id, one.traceparent) == ("c-1", "m-é", TRACE)


async def test_an_id_that_is_no_text_is_told_by_its_bytes_and_stays_short(queues: Queues, work: str) -> None:
    await put(queues, work, {CORRELATION_ID: short(b"\xff" * 255), MESSAGE_ID: short(b"m-\xff\xc3")})
    async with open_consumer(queues.url, work, "", 10) as consumer:
        one = await consumer.next()
    assert (one.correlation_id, one.message_id) == (r"\xff" * 255, r"m-\xff\xc3")


# -- the worker -------------------------------------------------------------------------------------------------------


async def test_a_good_body_is_worked_on_whatever_its_properties(
    event_store: EventStore, commands: ApplicationCommands, settings: Settings, queues: Queues, work: str
) -> None:
    off = settings.model_copy(update={"async_processing_enabled": False})
    ids = [await submit(commands) for _ in UNREADABLE]
    async with working(event_store, off):
        await queues.until_depth(work, 0)
        for id, properties in zip(ids, UNREADABLE.values(), strict=True):
            await put(queues, work, properties, b'{"application_id": "%s", "user_id": "ada"}' % id.hex.encode())
        assert set(await ended(commands, *ids)) == {"success"}
    assert await queues.depth(work) == 0


async def test_an_unreadable_body_is_recorded_once_for_each_id(
    event_store: EventStore, settings: Settings, queues: Queues, work: str
) -> None:
    async with working(event_store, settings):
        for id in (b"m-\xff", b"m-\xfe", b"m-\xff"):
            await put(queues, work, {MESSAGE_ID: short(id), TIMESTAMP: time(2**62)}, b"not json")
        letters = [content(letter) for letter in await queues.take(queues.names.dead_letters, 2)]
        await queues.until_depth(work, 0)
    assert [letter["original_message"] for letter in letters] == [{"raw": "not json"}] * 2
    for told in (r"m-\xff", r"m-\xfe"):
        assert len(await event_store.log.read_stream(message_stream(told, b"not json"))) == 1
    assert await queues.depth(queues.names.dead_letters) == 0


# -- what it leans on in the client library ---------------------------------------------------------------------------


async def test_headers_behind_a_value_of_an_unknown_kind_count_as_absent() -> None:
    """This broker refuses such a kind; another release, or another broker, may know it."""
    known = header(b"known", b"I" + struct.pack(">i", -7))
    assert headers_of({HEADERS: long(known + header(b"k", b"?abc") + TRACEPARENT)}) == {"known": -7}


async def test_each_kind_of_value_is_read_as_the_library_reads_it() -> None:
    values = {
        "bool": b"t\x01",
        "integer": b"l" + struct.pack(">q", -(2**40)),
        "decimal": b"D\x02" + struct.pack(">i", 314),
        "time": b"T" + time(1_700_000_000),
        "bytes": b"x" + long(b"\xff"),
        "text": b"S" + long("é".encode()),
        "array": b"A" + long(b"t\x00V"),
        "table": b"F" + long(header(b"inner", b"d" + struct.pack(">d", 0.5))),
        "nothing": b"V",
    }
    encoded = long(b"".join(header(name.encode(), value) for name, value in values.items()))
    expected = decode.field_table(encoded)
    assert headers_of({HEADERS: encoded}) == expected[1]
    assert decode.METHODS["table"](encoded + b"what follows") == expected


def test_each_kind_that_the_library_knows_has_its_size_here() -> None:
    assert {*SIZED, *SIZES} == decode.TABLE_MAPPING.keys()
    for kind, size in SIZES.items():
        assert decode.TABLE_MAPPING[kind](bytes(8))[0] == size


def test_the_replaced_decoders_are_those_that_the_library_uses() -> None:
    """Fails when a new version names them otherwise, or has properties of other types."""
    used = {Basic.Properties.amqp_type(name) for name in Basic.Properties.attributes()}
    assert used == {"shortstr", "timestamp", "table", "octet"}
    decode_tolerantly()
    names = ("shortstr", "timestamp", "table")
    assert {decode.METHODS[name].__module__ for name in names} == {decode_tolerantly.__module__}
    assert "_get_flags" in ContentHeader.unmarshal.__code__.co_names
