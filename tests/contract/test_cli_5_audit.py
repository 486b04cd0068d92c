"""`app-manager audit trail` and `replay`, on the log of a running API (contract cli.md 5)."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api import Api, User, a_story
from tests.builders import ApplicationStory
from tests.command_line import Shell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def operator(shell: Shell, api: Api) -> Shell:
    """With the settings of the service, and none of the client's."""
    return shell.where(EVENT_STORE=api.deps.settings.event_store)


def two_jobs(user: User) -> ApplicationStory:
    """Submitted, one job applied, the other refused, tried again, applied."""
    ended = a_story(user).submitted(jobs=2).started().attempted(1, 2).applied(1).refused(2).failed()
    return ended.retried().started().attempted(2).applied(2).succeeded()


# -- trail ------------------------------------------------------------------------------------------------------------


async def test_a_trail_tells_every_event(api: Api, ada: User, operator: Shell) -> None:
    story = two_jobs(ada)
    last = await api.happened(story)
    first = last - len(story.events) + 1
    done = (await operator.runs("audit", "trail", story.id.hex)).ended_well()
    assert [(int(row[0]), row[2], row[3]) for row in done.rows] == [
        (position, event.NAME, f"user:{ada.id}") for position, event in enumerate(story.events, first)
    ]
    assert done.rows[0][1] == "2026-01-01 00:00:00"
    assert done.stdout.splitlines()[-1] == f"{len(story.events)} events"


@pytest.mark.parametrize("arguments", [("audit", "trail", "--json"), ("-o", "json", "audit", "trail")])
async def test_a_trail_as_json_is_one_object_a_line(
    api: Api, ada: User, operator: Shell, arguments: tuple[str, ...]
) -> None:
    story = two_jobs(ada)
    last = await api.happened(story)
    lines = (await operator.runs(*arguments, f"{story.id.hex}-2")).ended_well().stdout.splitlines()
    events: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
    assert [event["type"] for event in events] == [event.NAME for event in story.events]
    assert [event["data"] for event in events] == [event.model_dump(mode="json") for event in story.events]
    recorded = story.recorded(last - len(story.events) + 1)
    assert [(one["position"], one["version"], one["event_id"]) for one in events] == [
        (one.position, one.version, str(one.metadata.event_id)) for one in recorded
    ]


@pytest.mark.parametrize("id", ["nonsense", "0" * 32, f"{'0' * 32}-3"])
@pytest.mark.parametrize("command", [("trail",), ("replay", "--at", "0")])
async def test_an_unknown_application_is_one_line(
    api: Api, ada: User, operator: Shell, command: tuple[str, ...], id: str
) -> None:
    await api.happened(two_jobs(ada))
    assert (await operator.runs("audit", *command, id)).failed(f"Application not found: {id}") == []


# -- replay -----------------------------------------------------------------------------------------------------------


async def test_a_replay_is_the_state_at_a_position(api: Api, ada: User, operator: Shell) -> None:
    story = two_jobs(ada)
    last = await api.happened(story)
    first = last - len(story.events) + 1
    failed_at = next(n for n, event in enumerate(story.events, first) if event.NAME == "application.failed")
    done = (await operator.runs("audit", "replay", story.id.hex, "--at", f"{failed_at}", "--json")).ended_well().json
    assert done["position"] == failed_at
    assert (done["status"]["status"], done["status"]["error_reason"]) == ("failed", "Position closed")
    assert list(done["applied"]) == [f"{story.id.hex}-1"]
    assert list(done["fail_applied"]) == [f"{story.id.hex}-2"]
    assert done["applied"][f"{story.id.hex}-1"]["cover_letter"] == {"text": "Letter 1 for 1"}
    now = (await operator.runs("audit", "replay", story.id.hex, "--at", f"{last}", "--json")).ended_well().json
    assert now["status"] == (await ada.get(f"/applications/{story.id.hex}/status", at_least=last)).json
    assert (list(now["applied"]), now["fail_applied"]) == ([f"{story.id.hex}-1", f"{story.id.hex}-2"], {})


async def test_a_replay_is_shown_to_people(api: Api, ada: User, operator: Shell) -> None:
    story = two_jobs(ada)
    last = await api.happened(story)
    done = (await operator.runs("audit", "replay", story.id.hex, "--at", f"{last}")).ended_well()
    assert (done.fields["Status"], done.fields["At Position"]) == ("success", f"{last}")
    assert [row[:2] for row in done.rows] == [[f"{story.id.hex}-1", "Baker"], [f"{story.id.hex}-2", "Miller"]]


async def test_a_time_means_all_that_had_occurred_by_then(api: Api, ada: User, operator: Shell) -> None:
    """The events of a story are a second apart."""
    story = two_jobs(ada)
    last = await api.happened(story)
    at = f"{story.recorded()[3].metadata.at:%Y-%m-%dT%H:%M:%S}"
    early = await operator.runs("audit", "replay", story.id.hex, "--at", "2025-12-31")
    assert early.failed(f"Application not found: {story.id.hex} (at position 0)") == []
    late = (await operator.runs("audit", "replay", story.id.hex, "--at", "2026-06-01T00:00:00+02:00", "--json")).json
    assert (late["position"], late["status"]["status"]) == (last, "success")
    assert (await operator.runs("audit", "replay", story.id.hex, "--at", at)).code == 0


@pytest.mark.parametrize("at", ["yesterday", "-1", "2026-13-01", "", "1e3"])
async def test_what_is_neither_time_nor_position_is_bad_usage(operator: Shell, at: str) -> None:
    done = await operator.runs("audit", "replay", "0" * 32, f"--at={at}")
    assert (done.code, done.stdout) == (2, "")
    assert "a position" in done.stderr


async def test_what_has_not_come_yet_cannot_be_told(api: Api, ada: User, operator: Shell) -> None:
    story = two_jobs(ada)
    head = await api.happened(story)
    beyond = await operator.runs("audit", "replay", story.id.hex, "--at", f"{head + 1}")
    assert beyond.failed(f"position {head + 1} is beyond the newest event, {head}") == []
    future = await operator.runs("audit", "replay", story.id.hex, "--at", "2126-01-01T00:00:00Z")
    assert future.failed("2126-01-01 00:00:00 has not come yet") == []


# -- where there is no log, or another ------------------------------------------------------------------------------


async def test_a_log_that_is_not_there_is_told_and_not_made(shell: Shell, tmp_path: Path) -> None:
    done = await shell.process("audit", "trail", "0" * 32)
    assert done.failed("there is no event log at .data/events.db (EVENT_STORE)") == []
    assert list(tmp_path.iterdir()) == []


async def test_a_server_that_is_away_is_one_line(shell: Shell) -> None:
    url = "postgresql://user:a-password@127.0.0.1:1/events"
    done = await shell.process("audit", "trail", "0" * 32, EVENT_STORE=url)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: EVENT_STORE cannot be used: The event store cannot be reached")
    assert "a-password" not in done.stderr


async def test_a_setting_that_cannot_be_used_is_one_line(shell: Shell) -> None:
    done = await shell.process("audit", "trail", "0" * 32, EVENT_STORE="mysql://x/y")
    assert done.failed("EVENT_STORE should be a URL that begins with sqlite:// or postgresql://") == []


async def test_a_file_that_is_no_log_is_one_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"no database at all, but a text of some length" * 10)
    done = await shell.process("audit", "trail", "0" * 32, EVENT_STORE=f"sqlite:///{tmp_path}/events.db")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("Error: EVENT_STORE cannot be used: ")
