"""`app-manager queue`, against a running API with a broker (contract cli.md 4)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.messages import QueueKind, messages_of
from tests.api import Api, a_story, running_api, settings_for, until
from tests.command_line import Shell
from tests.queues import Queues

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def queues(rabbitmq_url: str) -> Queues:
    return Queues(rabbitmq_url, "cli-4-")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(mongodb_uri: str, api_database: str, api_folder: Path, queues: Queues) -> AsyncIterator[Api]:
    names = queues.names
    settings = settings_for(
        f"sqlite:///{api_folder}/queues.db",
        mongodb_uri,
        f"{api_database}_queues",
        rabbitmq_url=queues.url,
        application_processing_queue=names.processing,
        middleware_queue=names.notifications,
        application_dlq=names.dead_letters,
    )
    async with running_api(settings, projected=False) as busy:

        async def connected() -> bool:
            return (await busy.user().get("/queue/status")).status == 200

        await until(connected, "the API has found the broker")
        yield busy
    await queues.remove()


@pytest_asyncio.fixture(loop_scope="module")
async def letters(queues: Queues) -> Queues:
    """No dead letter yet."""
    await queues.remove()
    await queues.make(queues.names.dead_letters)
    return queues


@pytest.fixture
def operator(busy: Api, shell: Shell) -> Shell:
    return shell.of(busy.user(is_admin=True, admin_role="operator"))


async def failed_with_letter(busy: Api, letters: Queues) -> None:
    story = a_story(busy.user()).submitted().started().attempted().refused().failed()
    await busy.happened(story)
    for one in story.recorded():
        for message in messages_of(one, letters.names):
            if message.queue is QueueKind.DEAD_LETTERS:
                await letters.put(letters.names.dead_letters, message.body, message_id=message.message_id)


async def test_status_shows_depths_and_warns_of_dead_letters(busy: Api, letters: Queues, shell: Shell) -> None:
    user = shell.of(busy.user())
    names = letters.names
    done = (await user.runs("queue", "status")).ended_well()
    assert done.stdout.startswith("Queue Status\n")
    assert [word for word in ("Queue", "Messages", "Consumers", "Rate (msg/s)") if word not in done.stdout] == []
    assert [row[:3] for row in done.rows] == [
        [name, "0", "0"] for name in (names.processing, names.notifications, names.dead_letters)
    ]
    assert done.stdout.splitlines()[-1] == f"The dead letter queue {names.dead_letters} is empty."
    await letters.put(names.dead_letters, b"{}")
    await letters.until_depth(names.dead_letters, 1)
    done = (await user.runs("queue", "status")).ended_well()
    assert done.stdout.splitlines()[-1] == f"Warning: 1 dead letter in {names.dead_letters}"
    for form in ("--json", "-j"):
        body = (await user.runs("queue", "status", form)).ended_well().json
        assert (list(body), body["dlq"]["messages"]) == (["queues", "dlq"], 1)


@pytest.mark.parametrize("force", ["--force", "-f"])
async def test_purge_deletes_and_tells_how_many(letters: Queues, operator: Shell, force: str) -> None:
    for _ in range(2):
        await letters.put(letters.names.dead_letters, b"{}")
    await letters.until_depth(letters.names.dead_letters, 2)
    done = (await operator.runs("queue", "purge-dlq", force)).ended_well()
    assert done.stdout == f"2 dead letters purged from {letters.names.dead_letters}\n"
    as_json = (await operator.runs("queue", "purge-dlq", force, "--json")).ended_well().json
    assert as_json == {"purged": 0, "queue": letters.names.dead_letters}


async def test_purge_deletes_nothing_where_nobody_can_be_asked(letters: Queues, operator: Shell) -> None:
    await letters.put(letters.names.dead_letters, b"{}")
    await letters.until_depth(letters.names.dead_letters, 1)
    message = "nobody can be asked without a terminal, and nothing was done: add --force to delete"
    assert (await operator.runs("queue", "purge-dlq")).failed(message) == []
    await letters.until_depth(letters.names.dead_letters, 1)


@pytest.mark.parametrize("force", [[], ["--force"], ["-f"]])
async def test_reprocess_tells_what_moved_and_what_did_not(
    busy: Api, letters: Queues, operator: Shell, force: list[str]
) -> None:
    for _ in range(2):
        await failed_with_letter(busy, letters)
    await letters.put(letters.names.dead_letters, b"no json")
    await letters.until_depth(letters.names.dead_letters, 3)
    done = (await operator.runs("queue", "reprocess-dlq", *force)).ended_well()
    assert done.stdout == "2 dead letters moved, 1 skipped\n"


@pytest.mark.parametrize("limit", ["--limit", "-n"])
async def test_reprocess_takes_no_more_than_the_limit(busy: Api, letters: Queues, operator: Shell, limit: str) -> None:
    for _ in range(2):
        await failed_with_letter(busy, letters)
    await letters.until_depth(letters.names.dead_letters, 2)
    assert (await operator.runs("queue", "reprocess-dlq", limit, "1")).ended_well().stdout == "1 dead letter moved\n"
    as_json = (await operator.runs("queue", "reprocess-dlq", "--json")).ended_well().json
    assert as_json == {"moved": 1, "skipped": 0}
    assert (await operator.runs("queue", "reprocess-dlq", limit, "0")).code == 2


@pytest.mark.parametrize("command", [["purge-dlq", "-f"], ["reprocess-dlq"]])
async def test_both_need_an_admin(busy: Api, letters: Queues, shell: Shell, command: list[str]) -> None:
    done = await shell.of(busy.user()).runs("queue", *command)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:3] == ["error: InsufficientPermissionsError", "code: ERR_8003"]
