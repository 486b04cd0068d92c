"""What a delivery does to the sandbox portal's records, and what they tell (contract portals.md 3).

Each function is a command for `ReceivedStore.run`: it runs inside a transaction, so of two deliveries with one key at
the same moment the second finds what the first has decided.
"""

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from consumers.portals.sandbox.markers import Markers


@dataclass(frozen=True, slots=True)
class Delivery:
    """One arrival of a submission. `blind`: by a call that does not heed keys; `at` is a timestamp with `Z`."""

    entry_id: str
    application_id: str
    key: str  # empty: none was sent
    blind: bool
    markers: Markers
    at: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered. `first`: this delivery decided it, no earlier one of its key."""

    status: int
    body: bytes
    first: bool = False


AWAY = Verdict(503, orjson.dumps({"message": "The portal is down"}))
REFUSED = orjson.dumps({"message": "Position closed"})


def deliver(connection: sqlite3.Connection, delivery: Delivery) -> Verdict:
    """Takes, refuses or turns away, and keeps a definite answer for the key."""
    markers, key = delivery.markers, (delivery.key, delivery.blind, delivery.entry_id)
    (deliveries,) = connection.execute(
        "INSERT INTO entries (entry_id, application_id, deliveries, taken, refused, first_at, last_at)"
        " VALUES (?1, ?2, 1, 0, 0, ?3, ?3)"
        " ON CONFLICT (entry_id) DO UPDATE SET deliveries = deliveries + 1, last_at = ?3 RETURNING deliveries",
        (delivery.entry_id, delivery.application_id, delivery.at),
    ).fetchone()
    connection.execute("INSERT INTO keys (key, blind, entry_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", key)
    if markers.down or deliveries <= markers.fail:
        return AWAY
    earlier = _answer_of(connection, delivery.key, delivery.blind)
    if earlier is not None and not delivery.blind:
        return earlier
    verdict = _decide(connection, delivery, first=earlier is None)
    connection.execute(
        "UPDATE keys SET status = ?, body = ? WHERE key = ? AND blind = ? AND entry_id = ?",
        (verdict.status, verdict.body, *key),
    )
    return verdict


def _answer_of(connection: sqlite3.Connection, key: str, blind: bool) -> Verdict | None:
    """The definite answer that this key was given first."""
    row = connection.execute(
        "SELECT status, body FROM keys WHERE key = ? AND key <> '' AND blind = ? AND status IS NOT NULL LIMIT 1",
        (key, blind),
    ).fetchone()
    return Verdict(*row) if row else None


def _decide(connection: sqlite3.Connection, delivery: Delivery, *, first: bool) -> Verdict:
    if delivery.markers.reject:
        connection.execute("UPDATE entries SET refused = refused + 1 WHERE entry_id = ?", (delivery.entry_id,))
        return Verdict(422, REFUSED, first)
    reference = f"SBX-{secrets.token_hex(6).upper()}"
    connection.execute(
        "UPDATE entries SET taken = taken + 1, reference = coalesce(reference, ?) WHERE entry_id = ?",
        (reference, delivery.entry_id),
    )
    return Verdict(200, orjson.dumps({"reference": reference}), first)


# -- what it tells ----------------------------------------------------------------------------------------------------

_COLUMNS = "number, entry_id, application_id, deliveries, taken, refused, reference, first_at, last_at"


def page(
    connection: sqlite3.Connection, application_id: str | None, entry_id: str | None, limit: int, after: int
) -> dict[str, Any]:
    """Entries in the order of their first arrival. `after` is the number that a cursor holds."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE number > :after"  # noqa: S608  only our own words
        " AND (:application_id IS NULL OR application_id = :application_id)"
        " AND (:entry_id IS NULL OR entry_id = :entry_id) ORDER BY number LIMIT :limit",
        {"after": after, "application_id": application_id, "entry_id": entry_id, "limit": limit + 1},
    ).fetchall()
    shown = rows[:limit]
    keys = _keys_of(connection, [row[1] for row in shown])
    return {
        "data": [_entry(row, keys[row[1]]) for row in shown],
        "next_cursor": str(shown[-1][0]) if len(rows) > limit else None,
    }


def _keys_of(connection: sqlite3.Connection, entry_ids: Sequence[str]) -> dict[str, list[str]]:
    keys: defaultdict[str, list[str]] = defaultdict(list)
    rows = connection.execute(
        "SELECT entry_id, key FROM keys WHERE key <> '' AND entry_id IN (SELECT value FROM json_each(?))"
        " GROUP BY entry_id, key ORDER BY min(number)",
        (orjson.dumps(entry_ids).decode(),),
    )
    for entry_id, key in rows:
        keys[entry_id].append(key)
    return keys


def _entry(row: Sequence[Any], keys: list[str]) -> dict[str, Any]:
    _, entry_id, application_id, deliveries, taken, refused, reference, first_at, last_at = row
    return {
        "entry_id": entry_id,
        "application_id": application_id,
        "idempotency_keys": keys,
        "deliveries": deliveries,
        "taken": taken,
        "refused": refused,
        "reference": reference,
        "first_at": first_at,
        "last_at": last_at,
    }


def summary(connection: sqlite3.Connection) -> dict[str, int]:
    """`taken_twice`: entries taken more than once."""
    row = connection.execute(
        "SELECT count(*), total(deliveries), total(taken), count(*) FILTER (WHERE taken > 1), total(refused)"
        " FROM entries"
    ).fetchone()
    names = ("entries", "deliveries", "taken", "taken_twice", "refused")
    return {name: int(value) for name, value in zip(names, row, strict=True)}


def forget(connection: sqlite3.Connection) -> dict[str, int]:
    forgotten = connection.execute("DELETE FROM entries").rowcount
    connection.execute("DELETE FROM keys")
    return {"forgotten": forgotten}
