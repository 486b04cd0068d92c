"""`app-manager apps`, against a running API (contract cli.md 4)."""

import re
from uuid import uuid4

import pytest

from api.cli.client.output import plain
from domain.job import Job
from tests.api import Api, User, a_story
from tests.builders import ApplicationStory, documents_of
from tests.command_line import Shell

pytestmark = pytest.mark.asyncio(loop_scope="module")


def applied(user: User, *jobs: Job) -> ApplicationStory:
    numbers = range(1, len(jobs) + 1)
    story = a_story(user).submitted(jobs=jobs).started().attempted(*numbers)
    for number in numbers:
        story = story.applied(number)
    return story.succeeded()


def failed(user: User, job: Job | None = None) -> ApplicationStory:
    return a_story(user).submitted(jobs=[job or Job(title="Baker")]).started().attempted().refused().failed()


async def visible(api: Api, user: User, *stories: ApplicationStory) -> None:
    """In the log, and in the read models."""
    position = max([await api.happened(story) for story in stories])
    for path in ("/applied", "/fail_applied", f"/applications/{stories[-1].id.hex}/status"):
        assert (await user.get(path, at_least=position)).status == 200


# -- list -------------------------------------------------------------------------------------------------------------


async def test_the_list_shows_whole_ids_and_short_texts(api: Api, ada: User, adas: Shell) -> None:
    story = applied(ada, Job(title="x" * 41, company_name="y" * 26, portal="LinkedIn"), Job(title="[bold]Cook[/]"))
    await visible(api, ada, story)
    done = (await adas.runs("apps", "list")).ended_well()
    lines = done.stdout.splitlines()
    assert lines[0] == "Successful Applications"
    assert re.findall(r"\w+", lines[2]) == ["ID", "Title", "Company", "Portal", "Status"]
    assert done.rows == [
        [f"{story.id.hex}-1", "x" * 39 + "…", "y" * 24 + "…", "LinkedIn", "success"],
        [f"{story.id.hex}-2", "[bold]Cook[/]", "-", "-", "success"],
    ]
    assert lines[-1] == "2 of 2 shown"


async def test_the_next_page_begins_at_the_whole_cursor(api: Api, ada: User, adas: Shell) -> None:
    await visible(api, ada, applied(ada, *(Job(title=f"Job {n}") for n in range(3))))
    first = (await adas.runs("apps", "list", "-n", "2")).ended_well()
    told = re.fullmatch(r"2 of 3 shown; the next page: --cursor (\S+)", first.stdout.splitlines()[-1])
    assert told
    second = (await adas.runs("apps", "list", "--limit", "2", "--cursor", told[1])).ended_well()
    assert [row[1] for row in first.rows + second.rows] == ["Job 0", "Job 1", "Job 2"]
    assert second.stdout.splitlines()[-1] == "1 of 3 shown"


@pytest.mark.parametrize(
    "options", [["--failed"], ["-f"], ["--status", "failed"], ["-s", "FAILED"], ["-f", "-s", "failed"]]
)
async def test_the_failed_ones_are_a_list_of_their_own(api: Api, ada: User, adas: Shell, options: list[str]) -> None:
    story = failed(ada)
    await visible(api, ada, story)
    done = (await adas.runs("apps", "list", *options)).ended_well()
    assert done.stdout.startswith("Failed Applications\n")
    assert done.rows == [[story.id.hex, "Baker", "-", "-", "failed"]]


@pytest.mark.parametrize("options", [[], ["-s", "success"]])
async def test_none_is_one_line(adas: Shell, options: list[str]) -> None:
    assert (await adas.runs("apps", "list", *options)).ended_well().stdout == "No successful applications.\n"
    assert (await adas.runs("apps", "list", "-f")).ended_well().stdout == "No failed applications.\n"


@pytest.mark.parametrize(
    "options",
    [
        *(["-p", "XING"], ["--portal", "xing"], ["-c", "Crumb & Co"], ["--company", "crumb"]),
        *(["-t", "bäck"], ["--title", "BÄCK"], ["-p", "xing", "-c", "co", "-t", "ä"]),
    ],
)
@pytest.mark.parametrize("of_failed", [False, True])
async def test_filters_work_in_both_lists(
    api: Api, ada: User, adas: Shell, options: list[str], of_failed: bool
) -> None:
    job, other = Job(title="Bäcker", company_name="Crumb & Co", portal="Xing"), Job(title="Miller", portal="LinkedIn")
    make = failed if of_failed else applied
    await visible(api, ada, make(ada, job), make(ada, other))
    done = (await adas.runs("apps", "list", *options, *(["-f"] if of_failed else []))).ended_well()
    assert [row[1] for row in done.rows] == ["Bäcker"]


@pytest.mark.parametrize("form", [["-o", "json", "apps", "list"], ["apps", "list", "--json"]])
async def test_as_json_it_is_the_body_as_it_came(api: Api, ada: User, adas: Shell, form: list[str]) -> None:
    await visible(api, ada, applied(ada, Job(title="\x1b[31mBäcker\x07", description="x" * 500)))
    body = (await adas.runs(*form)).ended_well().json
    assert body == (await ada.get("/applied")).json
    assert list(body) == ["data", "pagination"]


async def test_what_a_job_is_called_does_not_reach_the_screen_as_control(api: Api, ada: User, adas: Shell) -> None:
    await visible(api, ada, applied(ada, Job(title="\x1b[31mBaker\nMiller")))
    done = (await adas.runs("apps", "list")).ended_well()
    assert done.rows[0][1] == "[31mBaker Miller"
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "options", [["-n", "0"], ["-n", "101"], ["-n", "x"], ["-s", "gone"], ["-f", "-s", "success"], ["-x"]]
)
async def test_bad_usage(adas: Shell, options: list[str]) -> None:
    done = await adas.runs("apps", "list", *options)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("Error: ")


async def test_a_bad_cursor_is_the_apis_error_with_all_its_fields(adas: Shell) -> None:
    more = (await adas.runs("apps", "list", "--cursor", "x")).failed("The cursor cannot be read")
    assert [line.partition(":")[0] for line in more] == ["error", "code", "correlation_id", "timestamp", "details"]
    assert more[1] == "code: ERR_1001"
    assert more[4] == "details: cursor: cannot be read (ERR_1001)"


# -- get --------------------------------------------------------------------------------------------------------------


async def test_get_shows_both_documents(api: Api, ada: User, adas: Shell) -> None:
    story = applied(ada, Job(title="Baker"))
    await visible(api, ada, story)
    done = (await adas.runs("apps", "get", story.id.hex)).ended_well()
    assert "Application Details" in done.stdout.splitlines()[0]
    assert done.fields == {"ID": story.id.hex}
    documents = documents_of(1)
    resume, letter = documents.resume_optimized, documents.cover_letter
    assert resume == {"round": 1, "for": 1}
    assert letter == {"text": "Letter 1 for 1"}
    assert done.stdout.endswith(
        '\nResume\n{\n  "round": 1,\n  "for": 1\n}\n\nCover letter\n{\n  "text": "Letter 1 for 1"\n}\n'
    )
    as_json = (await adas.runs("apps", "get", story.id.hex, "--json")).ended_well().json
    assert as_json == {"resume_optimized": resume, "cover_letter": letter}


async def test_get_shows_what_is_missing_as_such(api: Api, ada: User, adas: Shell) -> None:
    story = a_story(ada).submitted().started().refused().failed()
    await visible(api, ada, story)
    done = (await adas.runs("apps", "get", story.id.hex, "--failed")).ended_well()
    assert done.stdout.endswith("\nResume\n-\n\nCover letter\n-\n")


async def test_get_hints_at_the_other_list(api: Api, ada: User, adas: Shell) -> None:
    story = failed(ada)
    await visible(api, ada, story)
    more = (await adas.runs("apps", "get", story.id.hex)).failed(f"Application not found: {story.id.hex}")
    assert more[-1] == "hint: if it failed, try --failed"
    other = applied(ada, Job(title="Baker"))
    await visible(api, ada, other)
    more = (await adas.runs("apps", "get", "-f", other.id.hex)).failed(f"Application not found: {other.id.hex}")
    assert not any("hint" in line for line in more)


async def test_the_id_of_several_jobs_is_told_what_to_ask_instead(api: Api, ada: User, adas: Shell) -> None:
    story = applied(ada, Job(title="Baker"), Job(title="Cook"))
    await visible(api, ada, story)
    more = (await adas.runs("apps", "get", story.id.hex)).failed(f"Application not found: {story.id.hex}")
    said = (await ada.get(f"/applied/{story.id.hex}")).json["message"]
    assert more[0] == f"message: {said}"


# -- status -----------------------------------------------------------------------------------------------------------


async def test_status_leaves_out_what_is_empty(api: Api, ada: User, adas: Shell) -> None:
    id = (await ada.submit()).json["application_id"]
    done = (await adas.runs("apps", "status", id)).ended_well()
    assert list(done.fields) == ["ID", "Status", "Jobs", "Created", "Updated"]
    body = (await ada.get(f"/applications/{id}/status")).json
    created = body["created_at"][:19].replace("T", " ")
    assert (done.fields["ID"], done.fields["Status"], done.fields["Jobs"]) == (id, "pending", "1")
    assert done.fields["Created"] == created
    assert (await adas.runs("apps", "status", id, "--json")).ended_well().json == body


async def test_status_shows_how_it_ended(api: Api, ada: User, adas: Shell) -> None:
    story = failed(ada)
    await visible(api, ada, story)
    done = (await adas.runs("apps", "status", story.id.hex)).ended_well()
    assert list(done.fields) == ["ID", "Status", "Jobs", "Created", "Updated", "Processed", "Error"]
    assert (done.fields["Status"], done.fields["Error"]) == ("failed", "Position closed")


# -- retry and cancel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--force"], ["-f"]])
async def test_a_failed_one_is_retried(api: Api, ada: User, adas: Shell, options: list[str]) -> None:
    story = failed(ada)
    await visible(api, ada, story)
    done = (await adas.runs("apps", "retry", story.id.hex, *options)).ended_well()
    assert done.stdout == f"{story.id.hex}: pending\n"
    assert (await api.event_store.log.read_stream(story.id))[-1].event.NAME == "application.retry_requested"


@pytest.mark.parametrize("options", [[], ["--force"], ["-f"]])
async def test_a_pending_one_is_cancelled(ada: User, adas: Shell, options: list[str]) -> None:
    id = (await ada.submit()).json["application_id"]
    assert (await adas.runs("apps", "cancel", id, *options)).ended_well().stdout == f"{id}: cancelled\n"


async def test_what_they_do_is_the_body_as_json(api: Api, ada: User, adas: Shell) -> None:
    id = (await ada.submit()).json["application_id"]
    body = (await adas.runs("apps", "cancel", id, "--json")).ended_well().json
    assert {name: body[name] for name in ("application_id", "status")} == {"application_id": id, "status": "cancelled"}
    story = failed(ada)
    await visible(api, ada, story)
    assert (await adas.runs("apps", "retry", story.id.hex, "--json")).ended_well().json["status"] == "pending"


@pytest.mark.parametrize("command", ["retry", "cancel"])
async def test_the_apis_refusal_is_told(api: Api, ada: User, adas: Shell, command: str) -> None:
    story = applied(ada, Job(title="Baker"))
    await visible(api, ada, story)
    more = (await adas.runs("apps", command, story.id.hex)).failed(f"Application {story.id.hex} has ended as success")
    assert more[:2] == ["error: ApplicationAlreadyProcessedError", "code: ERR_2003"]


# -- ids that are none ------------------------------------------------------------------------------------------------

COMMANDS = ["get", "status", "retry", "cancel"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_unknown_or_foreign_id_is_not_found(api: Api, bob: User, adas: Shell, command: str) -> None:
    story = failed(bob)
    await visible(api, bob, story)
    for id in (story.id.hex, uuid4().hex, "x", "../../queue/dlq", "a b?c#d", "ä", "\udcff"):
        (await adas.runs("apps", command, id)).failed(f"Application not found: {plain(id)}")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("id", ["", ".", "..", " "])
async def test_an_id_that_is_a_place_is_bad_usage(adas: Shell, command: str, id: str) -> None:
    """A path with `..` in it is another path."""
    done = await adas.runs("apps", command, id)
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: Invalid value for 'APP_ID': is no id")
