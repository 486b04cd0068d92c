"""What every client command does when the service is not as it should be (contract cli.md 3), on odd real servers."""

import asyncio
import ssl
from collections.abc import Callable

import orjson
import pytest

from infra.local_servers import free_port
from tests.command_line import Shell
from tests.portal_servers import Script, self_signed, served

COMMANDS = [
    *(["health"], ["apps", "list"], ["apps", "get", "x"], ["apps", "status", "x"], ["apps", "retry", "x"]),
    *(["apps", "cancel", "x"], ["queue", "status"], ["queue", "purge-dlq", "-f"], ["queue", "reprocess-dlq"]),
    *(["export", "csv"], ["export", "excel", "-o", "all"], ["export", "summary"], ["metrics"]),
]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
some_commands = pytest.mark.parametrize(
    "command", [["apps", "list"], ["apps", "retry", "x"], ["export", "csv", "-o", "all"]], ids=" ".join
)
WRITES = {"retry", "cancel", "purge-dlq", "reprocess-dlq"}
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def saying(status: str, body: bytes = b"", *headers: str, heard: list[str] | None = None) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heard is not None:
            heard.append(head)
        lines = [f"HTTP/1.1 {status}", "Connection: close", *(headers or [f"Content-Length: {len(body)}"]), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return script


def breaking_off(length: int = 100, *headers: str) -> Script:
    return saying("200 OK", b"half", f"Content-Length: {length}", *headers)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


def may_have_been_done(command: list[str]) -> str:
    return "; it may have been done all the same" if WRITES & set(command) else ""


# -- no service -------------------------------------------------------------------------------------------------------


@each_command
async def test_nobody_listens(shell: Shell, command: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert (await shell.runs("-u", url, *command)).failed(f"cannot connect to {url}: Connection refused") == []
    assert list(shell.home.iterdir()) == []


async def test_no_such_host(shell: Shell) -> None:
    done = await shell.runs("-u", "http://no-such-host.invalid", "health")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: cannot connect to http://no-such-host.invalid: ")
    assert done.stderr.count("\n") == 1


@some_commands
async def test_no_answer_in_time(shell: Shell, command: list[str]) -> None:
    async with served(silent) as port:
        url = f"http://127.0.0.1:{port}"
        done = await shell.runs("-u", url, *command, APP_MANAGER_API_TIMEOUT="0.1")
    told = f"no answer from {url} within 0.1 s (APP_MANAGER_API_TIMEOUT){may_have_been_done(command)}"
    assert done.failed(told) == []
    assert list(shell.home.iterdir()) == []


@some_commands
async def test_a_connection_that_breaks_off(shell: Shell, command: list[str]) -> None:
    async with served(gone) as port:
        url = f"http://127.0.0.1:{port}"
        done = await shell.runs("-u", url, *command)
    told = f"{url} broke the connection off before its answer was complete{may_have_been_done(command)}"
    assert done.failed(told) == []


async def test_an_encrypted_connection_to_a_server_that_speaks_plainly(shell: Shell) -> None:
    async with served(silent) as port:
        done = await shell.runs("-u", f"https://127.0.0.1:{port}", "health", APP_MANAGER_API_TIMEOUT="0.2")
    assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)


async def test_a_certificate_that_nobody_trusts(shell: Shell, tls: ssl.SSLContext) -> None:
    async with served(saying("200 OK"), tls) as port:
        url = f"https://localhost:{port}"
        done = await shell.runs("-u", url, "-t", "secret", "health")
    assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"Error: cannot connect to {url}: ")
    assert "self-signed certificate" in done.stderr


@pytest.fixture
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return self_signed(tmp_path_factory.mktemp("tls"))


# -- another service --------------------------------------------------------------------------------------------------


@each_command
async def test_something_else_answers(shell: Shell, command: list[str]) -> None:
    for body, kind in ((b"<h1>Welcome</h1>", "text/html"), (b"[3]", "application/json")):
        async with served(saying("200 OK", body, f"Content-Length: {len(body)}", f"Content-Type: {kind}")) as port:
            done = await shell.runs("-u", f"http://127.0.0.1:{port}", *command)
        assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "unexpected" not in done.stderr
        assert list(shell.home.iterdir()) == []


@some_commands
async def test_a_gateways_error_is_one_line(shell: Shell, command: list[str]) -> None:
    async with served(saying("502 Bad Gateway", b"<html>")) as port:
        url = f"http://127.0.0.1:{port}"
        assert (await shell.runs("-u", url, *command)).failed(f"{url} answered 502 Bad Gateway") == []


@some_commands
async def test_a_token_does_not_follow_to_another_place(shell: Shell, command: list[str]) -> None:
    heard: list[str] = []
    async with served(saying("200 OK", b"{}", heard=heard)) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere}/"
        async with served(saying("307 Temporary Redirect", b"", "Content-Length: 0", f"Location: {there}")) as port:
            url = f"http://127.0.0.1:{port}"
            done = await shell.runs("-u", url, "-t", "secret", *command)
    assert done.failed(f"{url} answered 307 and points to {there}: is it the right address?") == []
    assert heard == []


@some_commands
async def test_something_that_is_no_web_server(shell: Shell, command: list[str]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"-ERR unknown command\r\n")

    async with served(script) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", *command)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "does not answer as a web server does" in done.stderr


async def test_an_answer_without_an_end_is_given_up(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.client.connection._ANSWER_BYTES", 1 << 20)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with served(script) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", "apps", "list")
    assert done.failed("the answer is longer than 1 MiB: is it the right address?") == []


# -- what is sent -----------------------------------------------------------------------------------------------------


async def test_the_token_the_path_of_the_address_and_the_words_of_a_filter_arrive(shell: Shell) -> None:
    heard: list[str] = []
    body = b'{"data": {}, "pagination": {"total_count": 0, "next_cursor": null, "has_more": false}}'
    async with served(saying("200 OK", body, heard=heard)) as port:
        url = f"http://127.0.0.1:{port}/behind/a/proxy/"
        (await shell.runs("-u", url, "-t", "secret", "apps", "list", "-t", "a&b=ä c#d", "-p", "")).ended_well()
    line, *headers = heard[0].split("\r\n")
    assert line == "GET /behind/a/proxy/applied?limit=20&portal=&title=a%26b%3D%C3%A4+c%23d HTTP/1.1"
    assert "Authorization: Bearer secret" in headers


async def test_every_field_of_an_error_is_a_line_without_control_characters(shell: Shell) -> None:
    details = [
        {"code": "ERR_1", "message": "is\x1b[0m bad", "field": "a"},
        {"code": "ERR_2", "message": "no", "field": None},
    ]
    body = {
        "error": "Odd",
        "code": "ERR_9",
        "message": "It is\nodd",
        "details": details,
        "more": {"x": 1},
        "none": None,
    }
    async with served(saying("422 Unprocessable Entity", orjson.dumps(body))) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", "apps", "list")
    assert done.failed("It is odd") == [
        "error: Odd",
        "code: ERR_9",
        "details: a: is [0m bad (ERR_1)",
        "details: no (ERR_2)",
        "more: {'x': 1}",
    ]


# -- exports ----------------------------------------------------------------------------------------------------------


async def test_excel_asks_for_a_file_and_names_it_by_the_time(shell: Shell) -> None:
    heard: list[str] = []
    headers = ("Content-Length: 4", f"Content-Type: {EXCEL}")
    async with served(saying("200 OK", b"file", *headers, heard=heard)) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", "export", "excel", "-p", "x", "--no-failed")
    [path] = shell.home.glob("applications_*_*.xlsx")
    assert done.ended_well().stdout == f"Exported to {path.name} (4 bytes)\n"
    assert path.read_bytes() == b"file"
    query = "portal=x&include_successful=true&include_failed=false"
    assert heard[0].startswith(f"GET /export/excel?{query} HTTP/1.1\r\n")


@pytest.mark.parametrize("command", [["csv", "-o", "all.csv"], ["excel", "-o", "all.csv"]], ids=" ".join)
@pytest.mark.parametrize("how", ["breaks off", "is chunked and breaks off", "stands still"])
async def test_half_an_export_leaves_no_file(shell: Shell, command: list[str], how: str) -> None:
    kind = f"Content-Type: {'text/csv' if command[0] == 'csv' else EXCEL}"

    async def stands_still(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await breaking_off(100, kind)(reader, writer)
        await reader.read()

    scripts: dict[str, Callable[..., object]] = {
        "breaks off": breaking_off(100, kind),
        "is chunked and breaks off": saying("200 OK", b"4\r\nhalf\r\n", "Transfer-Encoding: chunked", kind),
        "stands still": stands_still,
    }
    (shell.home / "all.csv").write_text("old")
    async with served(scripts[how]) as port:  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{port}"
        done = await shell.runs("-u", url, "export", *command, APP_MANAGER_API_TIMEOUT="0.3")
    told = {
        "stands still": f"no answer from {url} within 0.3 s (APP_MANAGER_API_TIMEOUT)",
    }.get(how, f"{url} broke the connection off before its answer was complete")
    assert done.failed(told) == []
    assert {path.name: path.read_text() for path in shell.home.iterdir()} == {"all.csv": "old"}


async def test_half_an_export_to_standard_output_is_an_error(shell: Shell) -> None:
    async with served(breaking_off(100, "Content-Type: text/csv")) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", "export", "csv")
    assert (done.code, "half".startswith(done.stdout)) == (1, True)
    assert "broke the connection off" in done.stderr


async def test_an_export_may_take_longer_than_one_answer_as_long_as_it_goes_on(shell: Shell) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with served(script) as port:
        done = await shell.runs("-u", f"http://127.0.0.1:{port}", "export", "csv", APP_MANAGER_API_TIMEOUT="0.4")
    assert done.ended_well().stdout == "x" * 8
