"""`app-manager projections parked` over real stores (contract cli.md 5)."""

import asyncio
import getpass
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from domain.parked_decisions import EventSkipped, StreamRetried, decisions_stream
from infra.mongo import Mongo
from projections import status
from projections.mongo_view import MongoView
from projections.projector import Projector
from tests.api import Api, User, a_story, running_api, settings_for
from tests.command_line import Shell
from tests.heart import Beats
from tests.projecting import Picky, with_picky

pytestmark = pytest.mark.asyncio(loop_scope="module")

POISON = "application.job_failed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stumbling(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[tuple[Api, Picky]]:
    """An API, and the read model `status` that cannot take an event, in a projector that runs."""
    database = f"{api_database}_cli"
    settings = settings_for(f"sqlite:///{api_folder}/cli.db", mongodb_uri, database)
    async with running_api(settings, projected=False) as api, Mongo.of(settings) as mongo:
        models = with_picky(status, a_story(api.user()).id, POISON)
        picky: Any = models[0]
        stop = asyncio.Event()
        async with MongoView(mongo, models, "picky", 5.0) as view:
            projector = Projector(api.event_store.log, view, models, 1000, 5.0)
            running = asyncio.create_task(projector.run(Beats(), stop))
            yield api, picky
            stop.set()
            await running
        await mongo.client.drop_database(database)


@pytest.fixture
def operator(shell: Shell, mongodb_uri: str, api_database: str, api_folder: Path) -> Shell:
    return shell.where(
        EVENT_STORE=f"sqlite:///{api_folder}/cli.db", MONGODB=mongodb_uri, MONGODB_DATABASE=f"{api_database}_cli"
    )


async def a_parked_one(api: Api, picky: Picky, operator: Shell) -> tuple[str, int]:
    """A stream that waits at an event, alone, and the event's position."""
    story = a_story(api.user()).submitted().started().attempted().refused().failed()
    picky.stream, picky.cured = story.id, False
    head = await api.happened(story)
    body: dict[str, Any] = {"data": []}
    async with asyncio.timeout(20):
        while not body["data"]:
            body = (await operator.runs("projections", "parked", "list", "--json")).ended_well().json
    [one] = body["data"]
    assert (one["projection"], one["stream"], one["event_type"]) == ("status", story.id.hex, POISON)
    return story.id.hex, head - 1


async def test_nothing_may_be_parked(stumbling: tuple[Api, Picky], operator: Shell) -> None:
    api, _ = stumbling
    await api.deps.queries.positions()
    assert (await operator.runs("projections", "parked", "list")).ended_well().stdout == "Nothing is parked.\n"
    assert (
        await operator.runs("projections", "parked", "retry", "--all")
    ).ended_well().stdout == "Nothing is parked.\n"


async def test_it_is_listed_shown_tried_out_and_retried(stumbling: tuple[Api, Picky], operator: Shell) -> None:
    api, picky = stumbling
    stream, position = await a_parked_one(api, picky, operator)
    listing = (await operator.runs("projections", "parked", "list")).ended_well()
    assert [row[1:5] for row in listing.rows[:1]] == [["status", POISON, "1", "1"]]
    group = listing.rows[0][0]
    assert listing.rows[1] == [stream, "status", str(position), POISON, "1", group]
    shown = (await operator.runs("projections", "parked", "show", stream)).ended_well()
    assert shown.fields["Error"] == f"ValueError: cannot take {POISON}"
    assert [row[:2] for row in shown.rows] == [[str(position), POISON], [str(position + 1), "application.failed"]]

    tried = (await operator.runs("projections", "parked", "retry", "--group", group, "--dry-run")).ended_well()
    assert tried.stdout == f"{stream} in status would go on with 2 events\n", "this release takes it"
    assert await recorded(api) == []

    done = (await operator.runs("projections", "parked", "retry", stream)).ended_well()
    assert done.stdout == f"{stream} in status waits at position {position}: ValueError: cannot take {POISON}\n"
    picky.cured = True
    done = (await operator.runs("projections", "parked", "retry", "--all", "--json")).ended_well()
    assert done.json["data"] == [
        {"projection": "status", "stream": stream, "position": position, "outcome": "goes on", "error": None}
    ]
    assert await recorded(api) == [StreamRetried(read_model="status", stream=stream, position=position)] * 2
    (await operator.runs("projections", "verify", "status")).ended_well()


async def recorded(api: Api) -> list[Any]:
    found = await api.event_store.log.read_stream(decisions_stream("status"))
    assert {one.metadata.cause.actor for one in found} <= {f"operator:{getpass.getuser()}"}
    return [one.event for one in found]


async def test_an_event_is_skipped_with_a_reason(stumbling: tuple[Api, Picky], operator: Shell) -> None:
    api, picky = stumbling
    stream, position = await a_parked_one(api, picky, operator)
    before = await recorded(api)
    refused = await operator.runs("projections", "parked", "skip", stream)
    assert (refused.code, refused.stdout) == (2, "")
    assert "--reason" in refused.stderr
    done = (await operator.runs("projections", "parked", "skip", stream, "--reason", "never meant")).ended_well()
    assert done.stdout == f"{stream} in status goes on\n"
    assert (await recorded(api))[len(before) :] == [
        EventSkipped(read_model="status", stream=stream, position=position, reason="never meant")
    ]
    found = await api.deps.queries.status(stream, await api.event_store.log.head())
    assert found.value is not None
    assert (found.value["status"], found.value["results"]) == ("failed", [None])
    (await operator.runs("projections", "verify", "status")).ended_well()


async def test_what_is_not_parked_is_told(stumbling: tuple[Api, Picky], operator: Shell) -> None:
    for command in (["show", "nonsense"], ["retry", "nonsense"], ["skip", "nonsense", "--reason", "x"]):
        assert (await operator.runs("projections", "parked", *command)).failed("not parked: nonsense") == []
    done = await operator.runs("projections", "parked", "retry", "--group", "nonsense")
    assert done.failed("nothing is parked in the group nonsense") == []


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "a", "--all"], ["retry", "--group", "g", "--all"]])
async def test_one_choice_is_made(operator: Shell, arguments: list[str]) -> None:
    done = await operator.runs("projections", "parked", *arguments)
    assert done.code == 2
    assert "name streams, or say --group or --all" in done.stderr


async def test_users_are_told_of_users(stumbling: tuple[Api, Picky], ada: User) -> None:
    """A decision concerns no user: no stream of anybody tells of it."""
    api, _ = stumbling
    assert all(one.metadata.owner is None for one in await api.event_store.log.read_stream(decisions_stream("status")))
