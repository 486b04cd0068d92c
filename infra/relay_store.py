"""What the relay keeps beside the log: how far each queue has got, what is due later, and how much it has published.

It stands in the log's database, so that delivery needs log and broker only (design 7). Every write happens in one
transaction that first asks whether the relay's lease is still the writer's own: a relay that was replaced while it
slept changes nothing. What is written can be written again: positions only grow, totals are absolute, rows have keys.

A checkpoint is the position up to which all messages of a queue are published or stand in `due_messages`. A crash
before a write repeats what was published since the last one, under the same message ids; it loses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from infra import metrics
from infra.leases import holds
from infra.log_database import LogDatabase, Session
from infra.messages import DeadLetterKind, Message, QueueKind

LEASE = "relay"

CREATE = (
    "CREATE TABLE IF NOT EXISTS relay_checkpoints (queue TEXT PRIMARY KEY, position BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS due_messages "
    "(key TEXT PRIMARY KEY, due_at DOUBLE PRECISION NOT NULL, queue TEXT NOT NULL, message TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS due_messages_due_at ON due_messages (due_at)",
    "CREATE TABLE IF NOT EXISTS relay_totals (name TEXT NOT NULL, label TEXT NOT NULL, kind TEXT NOT NULL, "
    "total BIGINT NOT NULL, PRIMARY KEY (name, label, kind))",
)


class LeaseLost(Exception):
    """Another relay has taken over: nothing was written, and this one must stop."""


@dataclass(slots=True)
class Totals:
    """What was ever published (contract metrics.md, the three totals of the whole service)."""

    published: dict[str, int] = field(default_factory=dict)  # by queue name
    failures: dict[str, int] = field(default_factory=dict)  # by queue name
    dead_letters: dict[DeadLetterKind, int] = field(default_factory=dict)

    def copy(self) -> "Totals":
        """As they are now; these may go on growing."""
        return Totals(dict(self.published), dict(self.failures), dict(self.dead_letters))

    def rows(self) -> list[tuple[str, str, str, int]]:
        dead = [("dead_letters", k.original_queue, k.error_type, n) for k, n in self.dead_letters.items()]
        return [
            *(("published", queue, "", total) for queue, total in self.published.items()),
            *(("failures", queue, "", total) for queue, total in self.failures.items()),
            *dead,
        ]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str, str, int]]) -> "Totals":
        totals = cls()
        for name, label, kind, total in rows:
            match name:
                case "published":
                    totals.published[label] = total
                case "failures":
                    totals.failures[label] = total
                case _:
                    totals.dead_letters[DeadLetterKind(label, kind)] = total
        return totals


@dataclass(frozen=True, slots=True)
class Kept:
    """What a relay finds when it takes over. `next_due`: when the first of the rows is due, in seconds since 1970."""

    checkpoints: Mapping[QueueKind, int]
    totals: Totals
    next_due: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """One write: all of it or nothing."""

    checkpoints: Mapping[QueueKind, int]
    due_later: Sequence[Message]
    due_published: Sequence[str]  # message ids
    totals: Totals


async def create_tables(database: LogDatabase) -> None:
    """Makes what is missing. Raises a StoreError."""
    await database.create(CREATE)


async def read_totals(database: LogDatabase) -> Totals:
    """For every process that shows them. Raises a StoreError."""
    return await database.transaction(_totals)


def show(totals: Totals) -> None:
    """In this process's metrics."""
    for queue, total in totals.published.items():
        metrics.QUEUE_MESSAGES_PUBLISHED_TOTAL.set(total, queue_name=queue)
    for queue, total in totals.failures.items():
        metrics.QUEUE_PUBLISH_FAILURES_TOTAL.set(total, queue_name=queue)
    for kind, total in totals.dead_letters.items():
        labels = {"original_queue": kind.original_queue, "error_type": kind.error_type}
        metrics.DLQ_MESSAGES_TOTAL.set(total, **labels)


class RelayStore:
    """The relay's own view, under its lease. Raises LeaseLost, or a StoreError when the store is away."""

    def __init__(self, database: LogDatabase, holder: str) -> None:
        self._database, self._holder = database, holder

    async def load(self) -> Kept:
        def work(session: Session) -> Kept:
            self._fence(session)
            rows = session.execute("SELECT queue, position FROM relay_checkpoints")
            found = {QueueKind(queue): position for queue, position in rows}
            return Kept({kind: found.get(kind, 0) for kind in QueueKind}, _totals(session), _next_due(session))

        return await self._database.transaction(work)

    async def save(self, progress: Progress) -> float | None:
        """Returns when the first of the rows that are left is due."""
        rows = [(m.message_id, _seconds(m), m.queue.value, _to_json(m)) for m in progress.due_later]
        totals = progress.totals.rows()

        def work(session: Session) -> float | None:
            self._fence(session)
            for kind, position in progress.checkpoints.items():
                session.execute(
                    "INSERT INTO relay_checkpoints (queue, position) VALUES (?, ?) ON CONFLICT (queue) DO UPDATE "
                    "SET position = excluded.position WHERE relay_checkpoints.position < excluded.position",
                    (kind.value, position),
                )
            for row in rows:
                session.execute(
                    "INSERT INTO due_messages (key, due_at, queue, message) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (key) DO NOTHING",
                    row,
                )
            for key in progress.due_published:
                session.execute("DELETE FROM due_messages WHERE key = ?", (key,))
            _save_totals(session, totals)
            return _next_due(session)

        return await self._database.transaction(work)

    async def due(self, now: float, limit: int) -> Sequence[Message]:
        """What is due by `now` (seconds since 1970), the oldest first."""

        def work(session: Session) -> list[tuple[str, str]]:
            self._fence(session)
            sql = "SELECT queue, message FROM due_messages WHERE due_at <= ? ORDER BY due_at, key LIMIT ?"
            return [(queue, message) for queue, message in session.execute(sql, (now, limit))]

        return [_from_json(queue, message) for queue, message in await self._database.transaction(work)]

    async def rewind(self, position: int) -> None:
        """Every queue is published again from this position on; what is before it already stays so."""

        def work(session: Session) -> None:
            self._fence(session)
            before = max(position - 1, 0)
            session.execute("UPDATE relay_checkpoints SET position = ? WHERE position > ?", (before, before))

        await self._database.transaction(work)

    def _fence(self, session: Session) -> None:
        if not holds(session, LEASE, self._holder):
            raise LeaseLost("Another relay has taken over")


def _totals(session: Session) -> Totals:
    rows = session.execute("SELECT name, label, kind, total FROM relay_totals")
    return Totals.of([(name, label, kind, total) for name, label, kind, total in rows])


def _save_totals(session: Session, rows: Sequence[tuple[str, str, str, int]]) -> None:
    for row in rows:
        session.execute(
            "INSERT INTO relay_totals (name, label, kind, total) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name, label, kind) DO UPDATE SET total = excluded.total",
            row,
        )


def _next_due(session: Session) -> float | None:
    [[due_at]] = session.execute("SELECT MIN(due_at) FROM due_messages")
    return None if due_at is None else float(due_at)


def _seconds(message: Message) -> float:
    assert message.due_at is not None, "only what is due later is kept"
    return message.due_at.timestamp()


def _to_json(message: Message) -> str:
    return orjson.dumps(
        {
            "message_id": message.message_id,
            "body": message.body.decode(),
            "correlation_id": message.correlation_id,
            "traceparent": message.traceparent,
            "due_at": _seconds(message),
        }
    ).decode()


def _from_json(queue: str, text: str) -> Message:
    content = orjson.loads(text)
    return Message(
        queue=QueueKind(queue),
        message_id=content["message_id"],
        body=content["body"].encode(),
        correlation_id=content["correlation_id"],
        traceparent=content["traceparent"],
        due_at=datetime.fromtimestamp(content["due_at"], UTC),
    )
