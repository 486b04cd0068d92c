"""`audit replay`, and `as_of`, at every position of random histories: what the API answered then (contract cli.md 5).

The histories go into the log an event of each at a time, and the API is asked after each round, as it stands then.
`HISTORIES=20` makes a short run.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from api.cli.audit.replay import replayed
from domain.event import RecordedEvent
from domain.ports import Append
from tests.api import Api, User, a_story
from tests.command_line import Shell
from tests.histories import a_life

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

HISTORIES = int(os.environ.get("HISTORIES", "200"))
OF_A_USER = 5
LISTS = {"applied": "/applied", "fail_applied": "/fail_applied"}


@dataclass(slots=True)
class Told:
    """What the API told of an application at the position of each of its events."""

    user: User
    events: Sequence[RecordedEvent]
    at: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.events[0].stream_id.hex


def histories(api: Api) -> list[Told]:
    made: list[Told] = []
    for seed in range(HISTORIES):
        user = made[-1].user if seed % OF_A_USER else api.user()
        made.append(Told(user, a_life(random.Random(seed), a_story(user)).recorded()))
    return made


async def lived(api: Api, told: Sequence[Told]) -> None:
    for number in range(max(len(one.events) for one in told)):
        moving = [one for one in told if number < len(one.events)]
        last = await api.event_store.log.append(Append([replace(one.events[number]) for one in moving]))
        for one, position in zip(moving, range(last - len(moving) + 1, last + 1), strict=True):
            one.at[position] = await as_told(one, last)


async def as_told(one: Told, last: int) -> Mapping[str, Any]:
    """By the present of the API: the status, and the entries of this application with their documents."""
    status = await one.user.get(f"/applications/{one.id}/status", at_least=last)
    assert status.position >= last
    told: dict[str, Any] = {"status": status.json}
    for name, path in LISTS.items():
        listed = await one.user.get(path, at_least=last, limit="100")
        told[name] = {}
        for id, entry in listed.json["data"].items():
            if entry["application_id"] == one.id:
                told[name][id] = entry | (await one.user.get(f"{path}/{id}", at_least=last)).json
    return told


async def test_the_past_of_every_position_is_what_the_api_answered_then(api: Api, shell: Shell) -> None:
    told = histories(api)
    kinds = Counter(recorded.event.NAME for one in told for recorded in one.events)
    assert HISTORIES < 100 or len(kinds) == 12, kinds
    await lived(api, told)
    for one in told:
        recorded = await api.event_store.log.read_stream(one.events[0].stream_id)
        positions = sorted(one.at)
        assert [event.position for event in recorded] == positions
        assert replayed(recorded, positions[0] - 1) is None
        for position, until in zip(positions, [*positions[1:], positions[-1] + 1], strict=True):
            expected = {**one.at[position], "position": position}
            assert replayed(recorded, position) == expected
            between = replayed(recorded, until - 1)  # while only others moved
            assert between == {**expected, "position": until - 1}
            answer = await one.user.get(f"/applications/{one.id}/status", as_of=str(until - 1))
            assert (answer.json, answer.position) == (expected["status"], until - 1)
    for one in told[::10]:
        await lists_as_of(one)
    operator = shell.where(EVENT_STORE=api.deps.settings.event_store)
    for one in told[::50]:
        for position, then in one.at.items():
            done = await operator.runs("audit", "replay", one.id, "--at", str(position), "--json")
            assert done.ended_well().json == {**then, "position": position}


async def lists_as_of(one: Told) -> None:
    """Their entries of this application, and the documents of these."""
    for position, then in one.at.items():
        for name, path in LISTS.items():
            listed = await one.user.get(path, as_of=str(position), limit="100")
            own = {id: entry for id, entry in listed.json["data"].items() if entry["application_id"] == one.id}
            details = await asyncio.gather(*(one.user.get(f"{path}/{id}", as_of=str(position)) for id in own))
            found = {id: entry | more.json for (id, entry), more in zip(own.items(), details, strict=True)}
            assert found == then[name]
