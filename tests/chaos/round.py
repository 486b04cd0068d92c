"""One round: a plan carried out under load, then peace, then all the facts for the ledger."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pymongo import MongoClient

from domain.event import RecordedEvent
from infra.event_log import EventStore, open_event_log
from tests.chaos.callers import USERS, Callers
from tests.chaos.estate import Estate, Servers, estate
from tests.chaos.facts import Facts, Wish
from tests.chaos.histories import ENDED, STATUSES, histories
from tests.chaos.ledger import Finding, findings
from tests.chaos.listeners import Listeners
from tests.chaos.plan import Plan
from tests.end_to_end.service import Client, TookTooLong, until
from tests.end_to_end.test_rebuilt import documents, drop_read_models

STUCK_SECONDS = 60.0  # after the last fault
TELL_SECONDS = 20.0  # for read models and streams, once the log has come to rest
REBUILD_SECONDS = 60.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round found, how much it asked of the service, all facts, and where the roles wrote their logs."""

    found: Sequence[Finding]
    told: str
    facts: Facts
    logs: Path


Script = Callable[[Estate, "LogReader"], Awaitable[None]]  # what is done while the load goes on
Say = Callable[[str], None]


async def run_round(servers: Servers, plan: Plan, say: Say) -> Outcome:
    """Raises TookTooLong when the service does not even start."""

    async def carry_out(on: Estate, _: "LogReader") -> None:
        """Every fault at its time. Returns when all victims are there again."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        strikes: list[asyncio.Task[None]] = []
        for fault in plan.faults:
            await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
            say(f"{loop.time() - began:7.2f} s  now: {fault}")
            strikes.append(asyncio.create_task(on.strike(fault)))
        await asyncio.gather(*strikes)

    return await under_load(servers, plan.store, carry_out, say, seed=plan.seed, stormy=plan.stormy)


async def under_load(
    servers: Servers, store: str, script: Script, say: Say, *, seed: int = 0, stormy: bool = False, **settings: str
) -> Outcome:
    """Runs the script while callers call and listeners listen, waits for peace, and asks the ledger."""
    loop = asyncio.get_running_loop()
    async with (
        estate(servers, store, stormy=stormy, **settings) as on,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        open_event_log(on.event_store, pool_size=2) as event_store,
    ):
        callers, listeners, log = Callers(on.apis, seed, http), Listeners(on.apis, seed, http), LogReader(event_store)
        watching = asyncio.create_task(on.watch())
        began = loop.time()
        async with listeners.listening():
            async with callers.calling():
                await script(on, log)
            ended = loop.time()
            seconds = await _until_rest(log)
            say(f"all ended {seconds:.1f} s after the last fault" if seconds is not None else "something is stuck")
            await _until_told(on, log, listeners, loop.time() + TELL_SECONDS)
        watching.cancel()
        facts = await _facts(on, callers, listeners, log)
    found = await asyncio.to_thread(findings, facts)
    return Outcome(found, _told(facts, ended - began, seconds), facts, on.service.folder)


class LogReader:
    """The event log as the ledger reads it: by itself, page by page."""

    def __init__(self, event_store: EventStore) -> None:
        self._store = event_store
        self.read: list[RecordedEvent] = []

    async def catch_up(self) -> None:
        while page := await self._store.log.read(self.read[-1].position if self.read else 0, PAGE):
            self.read += page

    @property
    def head(self) -> int:
        return self.read[-1].position if self.read else 0

    def all_ended(self, up_to: int) -> bool:
        """Whether every application that was submitted up to a position has ended, once at least."""
        ended = {one.stream_id for one in self.read if STATUSES.get(one.event.NAME) in ENDED}
        return all(
            one.stream_id in ended
            for one in self.read
            if one.event.NAME == "application.submitted" and one.position <= up_to
        )


async def goes_on(on: Estate, log: LogReader, seconds: float) -> None:
    """Returns when all that has been submitted until now has ended and is shown. Raises TookTooLong."""
    await log.catch_up()
    head = log.head

    async def done() -> bool:
        await log.catch_up()
        return log.all_ended(head) and min((await asyncio.to_thread(positions, on)).values()) >= head

    await until(done, f"what was submitted up to {head} ends and is shown", seconds)


async def _until_rest(log: LogReader) -> float | None:
    """Seconds until every application has ended; None when that took too long."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def all_ended() -> bool:
        await log.catch_up()
        return all(history.status in ENDED for history in histories(log.read).values())

    try:
        await until(all_ended, "all ended", STUCK_SECONDS)
    except TookTooLong:
        return None
    return loop.time() - began


async def _until_told(on: Estate, log: LogReader, listeners: Listeners, deadline: float) -> None:
    """Until read models and streams have caught up; what they have not by then, the ledger finds."""
    due = dict.fromkeys(USERS, 0)
    for history in histories(log.read).values():
        due[history.user] += len(history.changes)

    async def caught_up() -> bool:
        await log.catch_up()
        there = await asyncio.to_thread(positions, on)
        if not there or min(there.values()) < log.head:
            return False
        told = {user: sum(event.name == "status_update" for event in heard) for user, heard in listeners.heard.items()}
        return all(told[user] >= count for user, count in due.items())

    try:
        await until(caught_up, "all is told", deadline - asyncio.get_running_loop().time())
    except TookTooLong:
        return


def positions(on: Estate) -> dict[str, int]:
    """Where each build of a read model stands. Blocks."""
    with MongoClient[dict[str, Any]](on.servers.running["mongodb"].url) as mongo:
        database = mongo[on.database]
        builds = [name for name in database.list_collection_names() if name.count(".") == 2]
        found = {name: database[name].find_one({"_id": "checkpoint"}) for name in builds}
        return {name: one["position"] for name, one in found.items() if one}


async def _facts(on: Estate, callers: Callers, listeners: Listeners, log: LogReader) -> Facts:
    statuses: dict[str, str] = {}
    applied, failed, received = set[str](), set[str](), dict[str, Any]()
    for user in USERS:
        async with Client(on.apis["api"], on.service.sandbox_url, user) as client:
            statuses |= await _statuses(client)
            applied |= set(await client.entries("/applied"))
            failed |= set(await client.entries("/fail_applied"))
            received = {entry["entry_id"]: entry for entry in await client.received()}
    live, rebuilt = await _live_and_rebuilt(on, log)
    return Facts(
        asked=callers.asked,
        outages=on.outages,
        log=log.read,
        received=received,
        statuses=statuses,
        applied=frozenset(applied),
        failed=frozenset(failed),
        live=live,
        rebuilt=rebuilt,
        heard=listeners.heard,
        fell=[*on.fell, *await asyncio.to_thread(on.faults_told)],
    )


async def _statuses(client: Client) -> dict[str, str]:
    """As the user's list of applications tells them."""
    found: dict[str, str] = {}
    query = {"limit": "100"}
    while True:
        page = await client.get("/applications", **query)
        found |= {one["application_id"]: one["status"] for one in page["data"]}
        if not page["pagination"]["has_more"]:
            return found
        query["cursor"] = page["pagination"]["next_cursor"]


async def _live_and_rebuilt(on: Estate, log: LogReader) -> tuple[Any, Any]:
    """All documents, before and after the read models are dropped and built anew by one projector."""
    projectors = [role for role in on.service.processes if role.startswith("projector")]
    await asyncio.gather(*map(on.service.stop, projectors))
    uri = on.servers.running["mongodb"].url
    live = await asyncio.to_thread(documents, uri, on.database)
    expected = await asyncio.to_thread(positions, on)
    await asyncio.to_thread(drop_read_models, uri, on.database)
    await on.start(projectors[0])

    async def is_rebuilt() -> bool:
        there = await asyncio.to_thread(positions, on)
        return there.keys() >= expected.keys() and min(there.values()) >= log.head

    await until(is_rebuilt, f"the read models are rebuilt:\n{on.service.log(projectors[0])}", REBUILD_SECONDS)
    await on.service.stop(projectors[0])
    return live, await asyncio.to_thread(documents, uri, on.database)


def _told(facts: Facts, seconds: float, rest: float | None) -> str:
    answers: dict[int, int] = {}
    for asked in facts.asked:
        for told in asked.told:
            answers[told.status] = answers.get(told.status, 0) + 1
    made = len(histories(facts.log))
    wishes = {wish.value: sum(asked.wish is wish for asked in facts.asked) for wish in Wish}
    return (
        f"{made} applications, {len(facts.log)} events, {len(facts.received)} entries at the portal, "
        f"{sum(map(len, facts.heard.values()))} updates heard; wishes {wishes}, answers {dict(sorted(answers.items()))}"
        f"; {seconds:.0f} s of load, " + (f"all ended after {rest:.1f} s more" if rest is not None else "not all ended")
    )
