"""GET /projections/parked, and what reads tell of a parked stream (contract http.md 1.6, 15)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from api.projections import Projection
from domain.event import RecordedEvent
from infra.mongo import Mongo
from projections.mongo_view import MongoView
from projections.projector import Projector
from projections.read_model import Documents, ReadModel
from projections.read_models import READ_MODELS
from tests.api import Api, User, a_story, running_api, settings_for
from tests.builders import ApplicationStory
from tests.projecting import catch_up

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = ["projection", "stream", "position", "event_type", "error", "group", "waiting", "first_at"]
PARKED_USER = "user-parked"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parked(mongodb_uri: str, api_database: str, api_folder: Any) -> AsyncIterator[tuple[Api, list[str]]]:
    """An API over read models in which three applications of one user wait: their ids, the oldest first."""
    database = f"{api_database}_parked"
    settings = settings_for(f"sqlite:///{api_folder}/parked.db", mongodb_uri, database, read_wait_seconds=0.3)
    async with running_api(settings, projected=False) as api:
        stories: list[ApplicationStory] = []
        for _ in range(3):
            story = a_story(api.user(PARKED_USER)).submitted().started().attempted().applied()
            stories.append(story.succeeded())
            await api.happened(stories[-1])
        await api.happened(a_story(api.user("user-well")).submitted())
        async with Mongo.of(settings) as mongo:
            models = stumbling({story.id for story in stories})
            async with MongoView(mongo, models, "picky", 5.0) as view:
                projector = Projector(api.event_store.log, view, models, 1000, 5.0)
                await catch_up(projector)
                await projector.leave()
        yield api, [story.id.hex for story in stories]
        await api.deps.cvs._cvs.database.client.drop_database(database)


@dataclass
class Stumbling:
    """A read model that cannot take one event of some streams."""

    model: ReadModel
    streams: set[UUID]
    poison: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        self.model.apply(recorded, docs)
        if recorded.stream_id in self.streams and self.poison == recorded.event.NAME:
            raise ValueError(f"cannot take {self.poison}")


def stumbling(streams: set[UUID]) -> list[Any]:
    poison = {"status": "succeeded", "updates": "succeeded", "applied": "job_applied"}
    return [
        Stumbling(one, streams, f"application.{poison[one.NAME]}") if one.NAME in poison else one for one in READ_MODELS
    ]


def an_operator(api: Api) -> User:
    return api.user(is_admin=True, admin_role="operator")


async def test_parked_streams_are_listed_the_newest_first(parked: tuple[Api, list[str]]) -> None:
    api, streams = parked
    body = (await an_operator(api).get("/projections/parked")).json
    assert [(one["projection"], one["stream"]) for one in body["data"]] == [
        (model, stream) for stream in reversed(streams) for model in ("status", "updates", "applied")
    ]
    assert all(list(one) == FIELDS for one in body["data"])
    assert body["pagination"] == {"limit": 20, "next_cursor": None, "has_more": False, "total_count": 9}
    first = body["data"][0]
    assert (first["event_type"], first["waiting"]) == ("application.succeeded", 0)
    assert first["error"] == "ValueError: cannot take application.succeeded"
    assert len({one["group"] for one in body["data"] if one["projection"] == "status"}) == 1
    assert first["first_at"].endswith("Z")
    assert {one["waiting"] for one in body["data"] if one["projection"] == "applied"} == {1}


@pytest.mark.parametrize("limit", ["1", "2", "4"])
@pytest.mark.parametrize("query", [{}, {"projection": "status"}])
async def test_page_by_page(parked: tuple[Api, list[str]], limit: str, query: dict[str, Any]) -> None:
    api, _ = parked
    operator = an_operator(api)
    whole = (await operator.get("/projections/parked", **query)).json["data"]
    seen: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        body = (await operator.get("/projections/parked", limit=limit, cursor=cursor, **query)).json
        assert body["pagination"]["total_count"] == len(whole)
        seen += body["data"]
        cursor = body["pagination"]["next_cursor"]
    assert seen == whole
    assert len(whole) == (3 if query else 9)


@pytest.mark.parametrize(
    ("query", "field"),
    [({"projection": "nonsense"}, "projection"), ({"cursor": "e30"}, "cursor"), ({"limit": "0"}, "limit")],
)
async def test_bad_parameters_are_refused(api: Api, query: dict[str, Any], field: str) -> None:
    answer = await an_operator(api).get("/projections/parked", **query)
    assert [one["field"] for one in answer.refused(422, "ERR_1001", "ValidationError")["details"]] == [field]


async def test_they_are_for_operators(api: Api, ada: User) -> None:
    (await ada.get("/projections/parked")).refused(403, "ERR_8003", "InsufficientPermissionsError")


async def test_where_nothing_is_parked_the_list_is_empty(api: Api) -> None:
    body = (await an_operator(api).get("/projections/parked")).json
    assert (body["data"], body["pagination"]["total_count"]) == ([], 0)


async def test_every_read_model_can_be_asked_for() -> None:
    assert [one.value for one in Projection] == [model.NAME for model in READ_MODELS]


async def test_reads_of_a_parked_stream_tell_the_position_before_it(parked: tuple[Api, list[str]]) -> None:
    api, streams = parked
    user, well = api.user(PARKED_USER), api.user("user-well")
    listed = (await an_operator(api).get("/projections/parked")).json["data"]
    at = {(one["projection"], one["stream"]): one["position"] for one in listed}
    head = await api.event_store.log.head()
    for stream in streams:
        answer = await user.get(f"/applications/{stream}/status")
        assert (answer.status, answer.json["status"]) == (200, "processing")
        assert answer.position == at["status", stream] - 1
        (await user.get(f"/applications/{stream}/status", at_least=head)).refused(
            503, "ERR_5004", "ReadModelBehindError"
        )
    for path, model in (("/applications", "status"), ("/applied", "applied")):
        assert (await user.get(path)).position == min(at[model, stream] for stream in streams) - 1
        (await user.get(path, at_least=head)).refused(503, "ERR_5004", "ReadModelBehindError")
        assert (await well.get(path, at_least=head)).position == head
