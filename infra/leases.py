"""Leases beside the log: who works on what, and who may not (design 7).

A lease is a row with its holder and the instant, by the database's clock, at which it runs out. It is taken when it is
free, has run out, or is the taker's own already; so a holder that dies is replaced after that instant, and one that was
only slow keeps it if nobody came. The row is the authority: a holder that cannot renew must stop by itself in time.
Killed after taking: the lease runs out. Killed after the work, before the release: the same.
"""

from collections.abc import Iterable, Sequence

from domain.ports import Claim
from infra.log_database import LogDatabase, Session

CREATE = (
    "CREATE TABLE IF NOT EXISTS leases "
    "(name TEXT PRIMARY KEY, holder TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)",
)


def take(session: Session, claim: Claim) -> bool:
    """Whether it is the claim's holder's now."""
    rows = session.execute(
        f"INSERT INTO leases (name, holder, expires) VALUES (?, ?, {session.now} + ?) "  # noqa: S608  a constant
        "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires "
        f"WHERE leases.holder = excluded.holder OR leases.expires < {session.now} RETURNING name",
        (claim.name, claim.holder, claim.seconds),
    )
    return bool(rows)


def release(session: Session, claims: Iterable[Claim]) -> None:
    """Frees those that are still their holder's."""
    for claim in claims:
        session.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (claim.name, claim.holder))


def holds(session: Session, name: str, holder: str) -> bool:
    """Whether the holder has it now: a fence for what is written in the same transaction.

    It locks the row, so nobody takes the lease over before that transaction has ended.
    """
    sql = (
        "UPDATE leases SET holder = holder "  # noqa: S608  a constant
        f"WHERE name = ? AND holder = ? AND expires >= {session.now} RETURNING name"
    )
    return bool(session.execute(sql, (name, holder)))


class Leases:
    """`domain.ports.Claims` over the log's database."""

    def __init__(self, database: LogDatabase) -> None:
        self._database = database

    async def take(self, claim: Claim) -> bool:
        return await self._database.transaction(lambda session: take(session, claim))

    async def renew(self, holder: str, names: Sequence[str], seconds: float) -> set[str]:
        def work(session: Session) -> set[str]:
            marks = ",".join("?" * len(names))
            rows = session.execute(
                f"UPDATE leases SET expires = {session.now} + ? "  # noqa: S608  only marks
                f"WHERE holder = ? AND name IN ({marks}) RETURNING name",
                (seconds, holder, *names),
            )
            return {row[0] for row in rows}

        return await self._database.transaction(work) if names else set()

    async def release(self, claim: Claim) -> None:
        await self._database.transaction(lambda session: release(session, [claim]))

    async def held(self, names: Sequence[str]) -> set[str]:
        def work(session: Session) -> set[str]:
            marks = ",".join("?" * len(names))
            sql = f"SELECT name FROM leases WHERE expires >= {session.now} AND name IN ({marks})"  # noqa: S608  marks
            return {row[0] for row in session.execute(sql, tuple(names))}

        return await self._database.transaction(work) if names else set()
