"""`up --demo`: submits sample applications through the API, follows them to their end, and shows what the API lists.

It is a client like any other: everything goes over HTTP with tokens of three users. One stream a user tells how his
applications go: of his streams at a time there may be few (WS_MAX_CONNECTIONS_PER_USER). It begins at his first
submission, so what happened before it was opened is told, too.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
import orjson
from rich.table import Table
from rich.text import Text

from api.cli.demo_client import ANSWER_SECONDS, DemoClient, StatusUpdate
from api.cli.ending import CommandFailed, first_cause
from api.cli.samples import Sample, samples
from api.cli.terminal import Terminal

_COLUMNS = {"Title": "title", "Company": "company_name", "Portal": "portal"}  # heading: field
_ENDS = {"success", "failed", "cancelled"}
_END_SECONDS = 60.0
_DETAIL_LINES = 24


@dataclass(slots=True)
class Followed:
    """A sample that was submitted, and how it goes. `position`: one that a read must have reached to show that."""

    user: str
    shows: str
    application_id: str
    position: str
    began: float  # time.monotonic()
    status: str = "pending"

    def goes_on(self, update: StatusUpdate) -> None:
        self.status, self.position = update.status, update.position

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDS


async def run_demo(url: str, token_of: Callable[[str], str], terminal: Terminal) -> str:
    """The id of an application whose documents can be read. Raises CommandFailed when the service fails its client."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        client = DemoClient(session, url, token_of)
        terminal.tell("\nDemo: sample applications are submitted through the API and followed to their end")
        ended = await _follow_all(client, samples(), terminal)
        await _show_list(client, ended, "/applied", "Applied", {}, terminal)
        await _show_list(client, ended, "/fail_applied", "Failed", {"Reason": "error_reason"}, terminal)
        await _show_detail(client, ended[0], terminal)
    return ended[0].application_id


async def _follow_all(client: DemoClient, of_all: Sequence[Sample], terminal: Terminal) -> Sequence[Followed]:
    """User by user, all at once. The first failure ends all."""
    users = dict.fromkeys(sample.user for sample in of_all)
    try:
        async with asyncio.TaskGroup() as following:
            tasks = [
                following.create_task(_follow(client, [sample for sample in of_all if sample.user == user], terminal))
                for user in users
            ]
    except ExceptionGroup as errors:  # by `except*`, Python before 3.11.4 would raise it in a group again
        raise first_cause(errors) from None
    return [followed for task in tasks for followed in task.result()]


async def _follow(client: DemoClient, of_user: Sequence[Sample], terminal: Terminal) -> Sequence[Followed]:
    """Submits a user's samples one after the other, and tells of each when it ends."""
    submitted = [await _submit(client, sample) for sample in of_user]
    waiting = {followed.application_id: followed for followed in submitted}
    updates = client.updates(submitted[0].user, list(waiting), after=submitted[0].position)
    try:
        async with asyncio.timeout(_END_SECONDS), aclosing(updates):
            while waiting:
                update = await anext(updates)
                if followed := waiting.get(update.application_id):
                    followed.goes_on(update)
                    if followed.has_ended:
                        _tell_end(waiting.pop(update.application_id), update.error_reason, terminal)
    except TimeoutError:
        left = ", ".join(f"{followed.application_id} is still {followed.status}" for followed in waiting.values())
        raise CommandFailed(f"{left} after {_END_SECONDS:g} s") from None
    return submitted


async def _submit(client: DemoClient, sample: Sample) -> Followed:
    began = time.monotonic()
    submitted = await client.submit(sample)
    return Followed(sample.user, sample.shows, submitted.application_id, submitted.position, began)


def _tell_end(followed: Followed, error_reason: str | None, terminal: Terminal) -> None:
    seconds = time.monotonic() - followed.began
    reason = f": {error_reason}" if error_reason else ""
    terminal.tell(f"  {followed.status:8} {seconds:4.1f} s  {followed.user:5} {followed.shows}{reason}")


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
        page = await client.read(user, path, position)
        for entry_id, entry in page["data"].items():
            table.add_row(entry_id, user, *(Text(entry[field] or "-") for field in columns.values()))
    terminal.tell()
    terminal.show(table)


async def _show_detail(client: DemoClient, followed: Followed, terminal: Terminal) -> None:
    """The documents that were made for the application with the CV."""
    detail = await client.read(followed.user, f"/applied/{followed.application_id}", followed.position)
    lines = orjson.dumps(detail, option=orjson.OPT_INDENT_2).decode().splitlines()
    more = [f"... and {len(lines) - _DETAIL_LINES} lines more"] if len(lines) > _DETAIL_LINES else []
    terminal.tell(f"\nWhat was written for {followed.application_id}, from the CV and the job:")
    terminal.tell("\n".join([*lines[:_DETAIL_LINES], *more]))
