"""`app-manager projections` over real stores (contract cli.md 5)."""

from pathlib import Path

import pytest

from tests.api import Api, User, a_story, until
from tests.command_line import Shell
from tests.projecting import NAMES, first_build

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def operator(shell: Shell, mongodb_uri: str, api_database: str, api_folder: Path) -> Shell:
    """In another folder than the service's, with its settings."""
    return shell.where(
        EVENT_STORE=f"sqlite:///{api_folder}/events.db", MONGODB=mongodb_uri, MONGODB_DATABASE=api_database
    )


async def grown(api: Api, user: User) -> int:
    """The log's head, with a few applications more, once all read models are there."""
    head = 0
    for _ in range(3):
        head = await api.happened(a_story(user).submitted().started().attempted().refused().failed())

    async def reached() -> bool:
        return set((await api.deps.queries.positions()).values()) == {head}

    await until(reached, "the read models have reached the head")
    return head


# -- status -----------------------------------------------------------------------------------------------------------


async def test_status_tells_of_each_build(api: Api, ada: User, operator: Shell) -> None:
    head = await grown(api, ada)
    body = (await operator.runs("projections", "status", "--json")).ended_well().json
    assert body["head"] == head
    assert [one["name"] for one in body["data"]] == NAMES
    for one in body["data"]:
        assert one["build"] == str(first_build(one["name"]))
        assert (one["use"], one["state"], one["position"], one["lag_events"]) == ("live", "running", head, 0)
        assert one["holder"]
        assert 0 < one["lease_seconds"] <= 5
    done = (await operator.runs("projections", "status")).ended_well()
    assert [row[:7] for row in done.rows] == [
        [name, str(first_build(name)), "live", "running", str(head), "0", "0.0"] for name in NAMES
    ]
    assert done.stdout.splitlines()[-1] == f"The log's head is {head}."


async def test_status_on_a_terminal(api: Api, operator: Shell) -> None:
    async with operator.terminal("projections", "status") as terminal:
        await terminal.shows("The log's head is ")
        assert await terminal.ends() == 0


async def test_a_log_that_is_not_there_is_told_and_not_made(operator: Shell) -> None:
    done = await operator.runs("projections", "status", EVENT_STORE="sqlite:///elsewhere.db")
    assert (
        done.failed("there is no event log at elsewhere.db: give this command where `up` runs, or set EVENT_STORE")
        == []
    )
    assert not (operator.home / "elsewhere.db").exists()


async def test_a_database_that_is_away_is_one_line(api: Api, operator: Shell) -> None:
    away = {"MONGODB": "mongodb://127.0.0.1:1/?replicaSet=rs0", "MONGODB_SERVER_SELECTION_TIMEOUT_MS": "300"}
    done = await operator.process("projections", "status", **away)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "Error: The database cannot be reached"


# -- verify -----------------------------------------------------------------------------------------------------------


async def test_verify_finds_what_differs(api: Api, ada: User, operator: Shell) -> None:
    head = await grown(api, ada)
    body = (await operator.runs("projections", "verify", "--all", "--json")).ended_well().json
    assert body["equal"]
    assert [(one["name"], one["position"], one["differences"]) for one in body["data"]] == [
        (name, head, 0) for name in NAMES
    ]
    collection = api.deps.cvs._cvs.database[str(first_build("failed"))]
    entry = await collection.find_one({"user_id": ada.id})
    assert entry is not None
    await collection.update_one({"_id": entry["_id"]}, {"$set": {"title": "Miller"}})
    done = await operator.runs("projections", "verify", "failed", "applied")
    assert (done.code, done.stderr) == (1, "Error: the live read models are not what the log says\n")
    assert [(row[0], row[4]) for row in done.rows] == [("applied", "0"), ("failed", "1")]
    assert done.stdout.splitlines()[-1] == f"failed: {entry['_id']} is different in title"
    await collection.replace_one({"_id": entry["_id"]}, entry)
    (await operator.runs("projections", "verify", "failed")).ended_well()


async def test_a_sample_is_enough_to_find_what_is_wrong_everywhere(api: Api, ada: User, operator: Shell) -> None:
    await grown(api, ada)
    body = (await operator.runs("projections", "verify", "--all", "--sample", "5", "--json")).ended_well().json
    assert [one["name"] for one in body["data"]] == [name for name in NAMES if name != "totals"]
    assert all(one["differences"] == 0 and one["checksum"] is None for one in body["data"])
    collection = api.deps.cvs._cvs.database[str(first_build("status"))]
    await collection.update_many({"job_count": {"$exists": True}}, {"$inc": {"job_count": 1}})
    done = await operator.runs("projections", "verify", "status", "--sample", "2")
    await collection.update_many({"job_count": {"$exists": True}}, {"$inc": {"job_count": -1}})
    assert done.code == 1
    assert "is different in job_count" in done.stdout
    refused = await operator.runs("projections", "verify", "totals", "--sample", "2")
    assert refused.failed("totals counts over the whole log: it cannot be sampled") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name read models, or say --all"),
        (["status", "--all"], "name read models, or say --all"),
        (["nonsense"], "there is no read model nonsense"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "rebuild"])
async def test_what_to_work_on_is_named(operator: Shell, command: str, arguments: list[str], told: str) -> None:
    done = await operator.runs("projections", command, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr


async def test_progress_is_shown_on_a_terminal(api: Api, ada: User, operator: Shell) -> None:
    await grown(api, ada)
    async with operator.terminal("projections", "verify", "status") as terminal:
        await terminal.shows("Folding the log")
        await terminal.shows("Comparing status")
        assert await terminal.ends() == 0


# -- rebuild and rollback ---------------------------------------------------------------------------------------------


async def test_rebuild_and_back_again(api: Api, ada: User, operator: Shell) -> None:
    head = await grown(api, ada)
    pages = [await ada.get("/fail_applied", at_least=head)]
    [told] = (await operator.runs("projections", "rebuild", "failed", "--keep-old", "--json")).ended_well().json["data"]
    former, build = told["former"], told["build"]
    assert (told["name"], told["position"], told["differences"], told["then"]) == (
        "failed",
        head,
        0,
        "kept for a roll-back",
    )
    assert build != former
    status = (await operator.runs("projections", "status", "--json")).ended_well().json["data"]
    assert {one["build"]: one["use"] for one in status if one["name"] == "failed"} == {build: "live", former: "kept"}
    pages.append(await ada.get("/fail_applied", at_least=head))
    done = (await operator.runs("projections", "rollback", "failed")).ended_well()
    assert done.stdout.splitlines() == [
        f"{former} is read now, from position {head} on, instead of {build}",
        f"{build} is dropped in 10 minutes",
    ]
    pages.append(await ada.get("/fail_applied", at_least=head))
    assert len({page.body for page in pages}) == 1
    refused = await operator.runs("projections", "rollback", "failed")
    assert refused.failed("no former build of failed is kept: rebuild with --keep-old keeps one") == []


async def test_another_services_log_is_not_folded(api: Api, ada: User, operator: Shell, tmp_path: Path) -> None:
    head = await grown(api, ada)
    (tmp_path / "other.db").touch()
    done = await operator.runs("projections", "rebuild", "--all", EVENT_STORE="sqlite:///other.db")
    assert done.stderr.startswith("Error: ")
    assert f"stands at position {head}, but the log ends at 0: EVENT_STORE and MONGODB do not belong" in done.stderr
