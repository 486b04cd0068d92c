"""What `projections.view.View` promises, held against MongoDB and against the store of the simulation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from pymongo import MongoClient

from infra.mongo import Mongo
from projections import status, totals
from projections.mongo_view import MongoView
from projections.parked import PREFIX
from projections.read_model import Document, ReadModel
from projections.view import Advance, BuildName, Fenced, Lease, Refused, View
from tests.simulation.chances import Chances
from tests.simulation.loop import SimLoop
from tests.simulation.view import SimView, ViewServer

MODELS: tuple[ReadModel, ...] = (status, totals)
STATUS = BuildName("status", status.VERSION, 1)
LEASE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Two:
    """The views of two processes on one store, empty at first."""

    one: View
    other: View


@pytest.fixture(params=["mongodb", "simulated"])
def uri(request: pytest.FixtureRequest) -> str | None:
    """None for the simulated store."""
    return request.getfixturevalue("mongodb_uri") if request.param == "mongodb" else None


@pytest.fixture
async def views(uri: str | None) -> AsyncIterator[Two]:
    if uri is None:
        loop = cast(SimLoop, asyncio.get_running_loop())  # all that is asked of it is what every loop has
        server = ViewServer(loop, Chances.none(), MODELS)
        yield Two(SimView(server, "one", LEASE_SECONDS), SimView(server, "other", LEASE_SECONDS))
        return
    name = f"test_{uuid4().hex[:12]}"
    async with AsyncExitStack() as stack:
        mongo = await stack.enter_async_context(Mongo(uri, name))
        views = [
            await stack.enter_async_context(MongoView(mongo, MODELS, holder, LEASE_SECONDS))
            for holder in ("one", "other")
        ]
        yield Two(*views)
    with MongoClient[dict[str, object]](uri) as client:
        client.drop_database(name)


@pytest.fixture
async def lease(views: Two) -> Lease:
    """The first view's."""
    await views.one.builds()
    taken = await views.one.take(STATUS)
    assert taken is not None
    return taken


def advance(lease: Lease, position: int = 5, **changes: Any) -> Advance:
    return Advance(lease, position, **changes)


async def documents(view: View, *ids: str) -> dict[str, Document]:
    return await view.load(STATUS, ids)


# -- builds and leases ------------------------------------------------------------------------------------------------


async def test_the_first_build_of_each_model_is_there_and_not_live(views: Two) -> None:
    expected = {BuildName(model.NAME, model.VERSION, 1): False for model in MODELS}
    assert dict(await views.one.builds()) == expected
    assert dict(await views.other.builds()) == expected


async def test_a_new_build_begins_at_the_beginning(lease: Lease) -> None:
    assert (lease.position, dict(lease.parked)) == (0, {})


async def test_one_holds_a_lease_and_another_waits_for_its_end(views: Two, lease: Lease) -> None:
    assert await views.other.take(STATUS) is None
    await asyncio.sleep(LEASE_SECONDS + 0.2)
    taken = await views.other.take(STATUS)
    assert taken is not None
    assert taken.token > lease.token
    assert not await views.one.renew(lease)


async def test_who_renews_or_commits_keeps_it(views: Two, lease: Lease) -> None:
    for turn in range(4):
        await asyncio.sleep(LEASE_SECONDS / 2)
        if turn % 2:
            assert await views.one.renew(lease)
        else:
            await views.one.commit([advance(lease, turn + 1)])
            lease = advance(lease, turn + 1).after
        assert await views.other.take(STATUS) is None


async def test_what_is_given_back_is_free_at_once(views: Two, lease: Lease) -> None:
    await views.one.release(lease)
    assert await views.other.take(STATUS) is not None


async def test_its_holder_may_take_it_anew(views: Two, lease: Lease) -> None:
    again = await views.one.take(STATUS)
    assert again is not None
    assert again.token > lease.token
    with pytest.raises(Fenced):
        await views.one.commit([advance(lease)])


async def test_a_build_goes_live_once(views: Two, lease: Lease) -> None:
    await views.one.go_live(STATUS)
    assert (await views.other.builds())[STATUS]


# -- commits ----------------------------------------------------------------------------------------------------------


async def test_documents_and_checkpoint_are_committed_together(views: Two, lease: Lease) -> None:
    at = datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    first, second = {"_id": "a", "at": at, "n": 1}, {"_id": "b", "list": [{"deep": None}]}
    await views.one.commit([advance(lease, 5, inserted=[first, second])])
    lease = advance(lease, 5).after
    changed = {"_id": "a", "n": 2}
    await views.one.commit([advance(lease, 9, replaced=[changed], removed=["b"])])
    assert await documents(views.other, "a", "b", "c") == {"a": changed}
    await views.one.release(advance(lease, 9).after)
    taken = await views.other.take(STATUS)
    assert taken is not None
    assert taken.position == 9


async def test_who_was_replaced_commits_nothing(views: Two, lease: Lease) -> None:
    await views.one.release(lease)
    assert await views.other.take(STATUS) is not None
    with pytest.raises(Fenced):
        await views.one.commit([advance(lease, inserted=[{"_id": "a"}])])
    assert await documents(views.one, "a") == {}


async def test_of_two_builds_one_of_which_is_lost_neither_is_committed(views: Two, lease: Lease) -> None:
    other = BuildName("totals", totals.VERSION, 1)
    taken = await views.one.take(other)
    assert taken is not None
    await views.one.release(taken)
    assert await views.other.take(other) is not None
    with pytest.raises(Fenced):
        await views.one.commit([advance(lease, inserted=[{"_id": "a"}]), advance(taken)])
    assert await documents(views.one, "a") == {}


async def test_a_commit_on_another_position_than_the_builds_own_is_refused(views: Two, lease: Lease) -> None:
    await views.one.commit([advance(lease, 5)])
    with pytest.raises(Fenced):
        await views.one.commit([advance(lease, 7)])


async def test_what_cannot_be_kept_is_refused_and_nothing_is_committed(views: Two, lease: Lease) -> None:
    with pytest.raises(Refused):
        await views.one.commit([advance(lease, inserted=[{"_id": "a"}, {"_id": "b", "n": 2**80}])])
    assert await documents(views.one, "a", "b") == {}
    await views.one.commit([advance(lease, inserted=[{"_id": "a"}])])


async def test_a_parked_stream_is_known_to_the_next_holder(views: Two, lease: Lease) -> None:
    parked = {"_id": f"{PREFIX}{'a' * 32}", "stream": "a" * 32, "concerns": "ada", "position": 3}
    await views.one.commit([advance(lease, inserted=[parked], parked={"a" * 32: 3})])
    await views.one.release(advance(lease).after)
    taken = await views.other.take(STATUS)
    assert taken is not None
    assert dict(taken.parked) == {"a" * 32: 3}


async def test_what_was_decided_when_a_build_began_is_known_to_the_next_holder(views: Two, lease: Lease) -> None:
    first = advance(replace(lease, decided=7))
    await views.one.commit([first])
    await views.one.commit([advance(replace(first.after, decided=9), 6)])
    await views.one.release(first.after)
    taken = await views.other.take(lease.build)
    assert taken is not None
    assert (taken.position, taken.decided) == (6, 7)
