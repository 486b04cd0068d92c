"""The command line as processes: in pipes, on terminals, interrupted (contract cli.md 1 and 3)."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from domain.job import Job
from tests.api import Api, User, a_story
from tests.command_line import BOUND_SECONDS, COMMAND, Done, Shell
from tests.portal_servers import served

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROW = b"1,sandbox,Baker,,,success,,,\r\n"
COLOUR = "\x1b["


@asynccontextmanager
async def an_export_without_an_end() -> AsyncIterator[str]:
    """The address of a service that exports as long as somebody takes it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(ROW * 1000)
            await writer.drain()

    async with served(script) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def a_service_that_never_answers() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Its address, and whether it has been asked."""
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with served(script) as port:
        yield f"http://127.0.0.1:{port}", asked


async def ending(process: asyncio.subprocess.Process) -> Done:
    stdout, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
    assert process.returncode is not None
    return Done(process.returncode, (stdout or b"").decode(), stderr.decode())


async def failed_one(api: Api, user: User) -> str:
    story = a_story(user).submitted().started().attempted().refused().failed()
    position = await api.happened(story)
    assert (await user.get(f"/applications/{story.id.hex}/status", at_least=position)).status == 200
    return story.id.hex


# -- help, version, completion ----------------------------------------------------------------------------------------


async def test_help_and_version(shell: Shell) -> None:
    assert (
        await shell.process("-v")
    ).ended_well().stdout == f"app-manager version {version('application-manager-service')}\n"
    shown = (await shell.process()).ended_well().stdout
    assert shown.startswith("Usage: app-manager [OPTIONS] COMMAND [ARGS]...\n")
    assert (await shell.runs("--help")).ended_well().stdout == shown
    for group in ("apps", "queue", "export", "config"):
        assert (await shell.runs(group)).ended_well().stdout == (await shell.runs(group, "--help")).ended_well().stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["apps", "nonsense"], ["apps", "get"], ["apps", "get", "1", "2"]]
)
async def test_bad_usage_is_told_with_where_to_read_on(shell: Shell, arguments: list[str]) -> None:
    done = await shell.runs(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: app-manager ")
    assert done.stderr.splitlines()[-1].startswith("Error: ")


async def test_a_shell_completes_commands_and_values(shell: Shell) -> None:
    def completed(words: str) -> dict[str, str]:
        count = str(len(words.split(" ")) - 1)
        return {"_APP_MANAGER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}

    done = await shell.where(**completed("app-manager apps ca")).process()
    assert done.ended_well().stdout.split() == ["cancel"]
    for words, found in {
        "app-manager ap": ["apps"],
        "app-manager -o j": ["json"],
        "app-manager apps list --status ": ["success", "failed"],
        "app-manager config get api_t": ["api_token", "api_timeout"],
    }.items():
        assert (await shell.runs(**completed(words))).ended_well().stdout.split() == found


async def test_a_command_imports_only_what_it_needs(api: Api, shell: Shell) -> None:
    """So that it starts quickly."""
    script = "import sys; from api.cli.main import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"

    async def imported(*arguments: str) -> set[str]:
        process = await shell.of(api.user()).start(sys.executable, "-P", "-c", script, *arguments)
        done = (await ending(process)).ended_well()
        return set(done.stdout.splitlines()[-1].split())

    assert {"aiohttp", "rich", "pydantic", "orjson", "asyncio", "infra"} & await imported("--help") == set()
    modules = await imported("apps", "list")
    assert "aiohttp" in modules
    assert {"pymongo", "motor", "aio_pika", "eventsourcing", "infra", "domain"} & modules == set()


# -- pipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["health"]])
async def test_a_reader_that_has_gone_is_no_reason_to_complain(api: Api, shell: Shell, arguments: list[str]) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    process = await shell.start(*COMMAND, "-u", api.url, *arguments, stdout=ours)
    os.close(ours)
    done = await ending(process)
    assert (done.code, done.stderr) == (1, "")


async def test_the_head_of_a_long_export_is_enough(shell: Shell) -> None:
    async with an_export_without_an_end() as url:
        done = await shell.line("app-manager export csv | head -n 2", APP_MANAGER_API_URL=url)
    assert (done.code, done.stdout, done.stderr) == (1, (ROW * 2).decode(), "")


async def test_an_output_that_cannot_be_written_is_one_line(api: Api, shell: Shell) -> None:
    for arguments in ("config show", "export csv"):
        done = await shell.line(f"app-manager {arguments} >/dev/full", **shell.of(api.user()).exported)
        assert done.failed("standard output cannot be written: No space left on device") == []


async def test_streams_that_are_closed_do_no_harm(api: Api, shell: Shell) -> None:
    done = await shell.line("app-manager config show <&- >&- 2>&-")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    done = await shell.line("app-manager export csv >&-", **shell.of(api.user()).exported)
    assert done.failed("standard output is closed") == []


async def test_another_encoding_costs_letters_and_nothing_else(api: Api, ada: User, adas: Shell) -> None:
    position = await api.happened(
        a_story(ada).submitted(jobs=[Job(title="Bäcker")]).started().attempted().applied().succeeded()
    )
    assert (await ada.get("/applied", at_least=position)).status == 200
    done = (await adas.process("apps", "list", PYTHONIOENCODING="ascii")).ended_well()
    assert "B?cker" in done.stdout
    assert done.stdout.isascii()
    as_json = (await adas.process("apps", "list", "--json", PYTHONIOENCODING="ascii")).ended_well().json
    assert [entry["title"] for entry in as_json["data"].values()] == ["Bäcker"]


# -- on a terminal ----------------------------------------------------------------------------------------------------


async def test_colours_are_for_terminals(api: Api, ada: User, adas: Shell) -> None:
    id = await failed_one(api, ada)
    for exported, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        async with adas.where(**exported).terminal("apps", "status", id) as terminal:
            assert await terminal.ends() == 0
        assert (f"{COLOUR}31mfailed" in terminal.seen) == is_coloured
        assert (COLOUR in terminal.seen) == is_coloured
    assert COLOUR not in (await adas.runs("apps", "status", id, FORCE_COLOR="1")).ended_well().stdout


async def test_an_id_is_whole_on_the_narrowest_terminal(api: Api, ada: User, adas: Shell) -> None:
    id = await failed_one(api, ada)
    async with adas.terminal("apps", "list", "-f", columns=30) as terminal:
        assert await terminal.ends() == 0
    assert id in terminal.seen


async def test_a_person_is_asked_before_a_retry(api: Api, ada: User, adas: Shell) -> None:
    id = await failed_one(api, ada)
    async with adas.terminal("apps", "retry", id) as terminal:
        await terminal.shows(f"Retry application {id}? [y/N] ")
        await terminal.types("y\n")
        assert await terminal.ends() == 0
    assert terminal.seen.endswith(f"\n{id}: pending\n")


@pytest.mark.parametrize(
    ("answer", "goes_ahead"),
    [
        ("y\n", True),
        ("YES\n", True),
        (" Yes \n", True),
        ("n\n", False),
        ("\n", False),
        ("yo\n", False),
        ("\x04", False),
    ],
)
async def test_only_y_and_yes_go_ahead(api: Api, ada: User, adas: Shell, answer: str, goes_ahead: bool) -> None:
    id = await failed_one(api, ada)
    done = await adas.runs("apps", "retry", id, types=answer)
    assert (done.code, done.stdout) == (0, f"{id}: pending\n" if goes_ahead else "")
    assert done.stderr.startswith(f"Retry application {id}? [y/N] ")
    assert done.stderr.endswith("Nothing was done.\n") == (not goes_ahead)


async def test_a_question_does_not_disturb_the_document_on_standard_output(api: Api, ada: User, adas: Shell) -> None:
    id = await failed_one(api, ada)
    theirs, ours = os.pipe()
    async with adas.terminal("apps", "retry", id, "--json", stdout=ours) as terminal:
        os.close(ours)
        await terminal.shows("[y/N] ")
        await terminal.types("y\n")
        assert await terminal.ends() == 0
    with os.fdopen(theirs) as stdout:
        assert Done(0, stdout.read(), "").json["status"] == "pending"
    assert terminal.seen == f"Retry application {id}? [y/N] y\n"


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["apps", "cancel", "x"], "Cancel application x?"),
        (["queue", "purge-dlq"], "This deletes every dead letter, and cannot be undone.\nPurge the dead letter queue?"),
        (["queue", "reprocess-dlq"], "Reprocess all dead letters?"),
        (["queue", "reprocess-dlq", "-n", "3"], "Reprocess up to 3 dead letters?"),
        (["config", "reset"], "Delete "),
    ],
)
async def test_what_a_person_declines_is_not_even_sent(shell: Shell, arguments: list[str], question: str) -> None:
    shell.keeping("APP_MANAGER_API_TIMEOUT=5\n")
    async with a_service_that_never_answers() as (url, asked):
        done = await shell.runs("-u", url, *arguments, types="n\n")
        assert not asked.is_set()
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.startswith(question)
    assert done.stderr.endswith("[y/N] Nothing was done.\n")
    assert shell.file.exists()


async def test_force_asks_nobody(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_API_TIMEOUT=5\n")
    assert (await shell.runs("config", "reset", "-f", types="")).ended_well().stdout == f"Deleted: {shell.file}\n"


async def test_an_export_to_a_file_shows_how_far_it_is(shell: Shell) -> None:
    async with an_export_without_an_end() as url, shell.terminal("-u", url, "export", "csv", "-o", "a.csv") as terminal:
        await terminal.shows("MB/s")
        assert "Export" in terminal.seen
        await terminal.types("\x03")
        assert await terminal.ends() == 130
    assert list(shell.home.iterdir()) == []


async def test_an_export_into_a_pipe_shows_nothing_else(api: Api, adas: Shell) -> None:
    theirs, ours = os.pipe()
    async with adas.terminal("export", "csv", stdout=ours) as terminal:
        os.close(ours)
        assert await terminal.ends() == 0
    os.close(theirs)
    assert terminal.seen == ""


# -- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["apps", "list"], ["apps", "retry", "x", "-f"]])
async def test_ctrl_c_while_waiting(shell: Shell, arguments: list[str]) -> None:
    async with a_service_that_never_answers() as (url, asked), shell.terminal("-u", url, *arguments) as terminal:
        await asyncio.wait_for(asked.wait(), BOUND_SECONDS)
        await terminal.types("\x03")
        assert await terminal.ends() == 130
    assert re.fullmatch(r"(\^C)?\s*", terminal.seen)


async def test_ctrl_c_at_a_question(shell: Shell) -> None:
    shell.keeping("APP_MANAGER_API_TIMEOUT=5\n")
    async with shell.terminal("config", "reset") as terminal:
        await terminal.shows("[y/N] ")
        await terminal.types("\x03")
        assert await terminal.ends() == 130
    assert "Traceback" not in terminal.seen
    assert shell.file.exists()


async def test_ctrl_c_while_nobody_takes_the_output(shell: Shell) -> None:
    async with an_export_without_an_end() as url:
        process = await shell.start(*COMMAND, "-u", url, "export", "csv")
        await until_it_waits_in(process, "pipe")
        process.send_signal(signal.SIGINT)
        done = await ending(process)
    assert (done.code, done.stderr) == (130, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_export_leaves_no_file(shell: Shell, number: signal.Signals, code: int) -> None:
    async with an_export_without_an_end() as url:
        process = await shell.start(*COMMAND, "-u", url, "export", "csv", "-o", "all.csv")
        async with asyncio.timeout(BOUND_SECONDS):
            while not any(path.stat().st_size for path in shell.home.glob(".*.part")):
                await asyncio.sleep(0.02)
        process.send_signal(number)
        done = await ending(process)
    assert (done.code, done.stdout, done.stderr) == (code, "", "")
    assert list(shell.home.iterdir()) == []


async def until_it_waits_in(process: asyncio.subprocess.Process, place: str) -> None:
    """Until the kernel holds it in a write to a pipe: its name for that begins so."""
    async with asyncio.timeout(BOUND_SECONDS):
        while place not in await asyncio.to_thread(Path(f"/proc/{process.pid}/wchan").read_text):
            await asyncio.sleep(0.02)
