"""`up --demo`: submits sample applications through the API, follows them to their end, and shows what the API lists.

It is a client like any other: everything goes over HTTP with tokens of three users. It follows an application by asking
for its status again and again, as the stream of updates is not served yet.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from rich.table import Table
from rich.text import Text

from api.cli.ending import CommandFailed
from api.cli.samples import Sample, samples
from api.cli.terminal import Terminal

_COLUMNS = {"Title": "title", "Company": "company_name", "Portal": "portal"}  # heading: field
_ENDS = {"success", "failed", "cancelled"}
_ASK_EVERY_SECONDS = 0.2
_END_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_READ_TRIES = 5
_DETAIL_LINES = 24


@dataclass(frozen=True, slots=True)
class Followed:
    """A sample that has ended."""

    user: str
    application_id: str
    position: str  # the event position that a read must have reached to show its end


class _Busy(CommandFailed):
    """The API asks to come back (503)."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class DemoClient:
    """Calls of the API for several users. Raises CommandFailed for an answer that is no 2xx."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token_of: Callable[[str], str]) -> None:
        self._session = session
        self._url = url
        self._token_of = token_of

    async def submit(self, sample: Sample) -> str:
        """The new application's id."""
        form = aiohttp.FormData()
        form.add_field("jobs", orjson.dumps({"jobs": sample.jobs}).decode())
        if sample.style is not None:
            form.add_field("style", sample.style)
        if sample.cv is not None:
            form.add_field("cv", sample.cv, filename=f"{sample.user}.pdf", content_type="application/pdf")
        body, _ = await self._call(sample.user, "POST", "/applications", data=form)
        application_id: str = body["application_id"]
        return application_id

    async def read(self, user: str, path: str, position: str | None = None) -> tuple[dict[str, Any], str]:
        """The body, and the position that it reflects; with a position: not older than that."""
        headers = {"X-Event-Position": position} if position else {}
        for _ in range(_READ_TRIES):
            try:
                return await self._call(user, "GET", path, headers=headers)
            except _Busy as busy:
                await asyncio.sleep(busy.retry_after)
        return await self._call(user, "GET", path, headers=headers)

    async def _call(
        self, user: str, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> tuple[dict[str, Any], str]:
        headers = {"Authorization": f"Bearer {self._token_of(user)}", **(headers or {})}
        try:
            async with self._session.request(method, self._url + path, headers=headers, **more) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CommandFailed(f"{method} {path}: no answer ({type(error).__name__})") from error
        told = f"{method} {path}: {answer.status} {body[:300].decode(errors='replace')}"
        if answer.status == 503:
            raise _Busy(told, float(answer.headers.get("Retry-After", "1")))
        if answer.status != 200:
            raise CommandFailed(told)
        return orjson.loads(body), answer.headers["X-Event-Position"]


async def run_demo(url: str, token_of: Callable[[str], str], terminal: Terminal) -> str:
    """The id of an application whose documents can be read. Raises CommandFailed when the service fails its client."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        client = DemoClient(session, url, token_of)
        terminal.tell("\nDemo: sample applications are submitted through the API and followed to their end")
        ended = await asyncio.gather(*(_follow(client, sample, terminal) for sample in samples()))
        await _show_list(client, ended, "/applied", "Applied", {}, terminal)
        await _show_list(client, ended, "/fail_applied", "Failed", {"Reason": "error_reason"}, terminal)
        await _show_detail(client, ended[0], terminal)
    return ended[0].application_id


async def _follow(client: DemoClient, sample: Sample, terminal: Terminal) -> Followed:
    began = time.monotonic()
    application_id = await client.submit(sample)
    while True:
        status, position = await client.read(sample.user, f"/applications/{application_id}/status")
        seconds = time.monotonic() - began
        if status["status"] in _ENDS:
            break
        if seconds > _END_SECONDS:
            raise CommandFailed(f"{application_id} is still {status['status']} after {_END_SECONDS:g} s")
        await asyncio.sleep(_ASK_EVERY_SECONDS)
    reason = f": {status['error_reason']}" if status["error_reason"] else ""
    terminal.tell(f"  {status['status']:8} {seconds:4.1f} s  {sample.user:5} {sample.shows}{reason}")
    return Followed(sample.user, application_id, position)


async def _show_list(
    client: DemoClient,
    ended: Sequence[Followed],
    path: str,
    title: str,
    more: Mapping[str, str],
    terminal: Terminal,
) -> None:
    """The newest page of each user. `more`: columns of this list alone, and their fields."""
    columns = {**_COLUMNS, **more}
    table = Table("ID", "User", *columns, title=title, title_justify="left")
    table.columns[0].no_wrap = True
    for user in dict.fromkeys(followed.user for followed in ended):
        position = max((followed.position for followed in ended if followed.user == user), key=int)
        page, _ = await client.read(user, path, position)
        for entry_id, entry in page["data"].items():
            table.add_row(entry_id, user, *(Text(entry[field] or "-") for field in columns.values()))
    terminal.tell()
    terminal.show(table)


async def _show_detail(client: DemoClient, followed: Followed, terminal: Terminal) -> None:
    """The documents that were made for the application with the CV."""
    detail, _ = await client.read(followed.user, f"/applied/{followed.application_id}", followed.position)
    lines = orjson.dumps(detail, option=orjson.OPT_INDENT_2).decode().splitlines()
    more = [f"... and {len(lines) - _DETAIL_LINES} lines more"] if len(lines) > _DETAIL_LINES else []
    terminal.tell(f"\nWhat was written for {followed.application_id}, from the CV and the job:")
    terminal.tell("\n".join([*lines[:_DETAIL_LINES], *more]))
