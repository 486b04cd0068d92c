"""The load: callers who submit, send again, retry, cancel and read, and write down every answer that they get."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.facts import NO_ANSWER, Asked, Told, Wish
from tests.end_to_end.service import token
from tests.pdfs import a_pdf

USERS = ("ada", "bob", "eve")
CALLERS = 6
ANSWER_SECONDS = 40.0  # longer than the service may take for anything
AGAIN_SECONDS = 0.5  # before a wish with a key is sent again
LAST_TRIES_SECONDS = 60.0  # for those that have no answer when the load ends
CV = a_pdf(["Ada Baker", "Ten years of bread"])
LISTS = ("/applied?limit=5", "/applications?limit=5", "/export/summary")
WISHES = {Wish.SUBMIT: 50, Wish.BATCH: 8, Wish.RETRY: 12, Wish.CANCEL: 10, Wish.READ: 20}
KEYED_SHARE, TWIN_SHARE, CV_SHARE = 0.6, 0.3, 0.1
PORTALS = ("sandbox", "blind")  # the latter takes no keys: at most once
TITLES = {
    "Baker": 10,
    "Cook [fail:1]": 3,
    "Waiter [fail:2]": 2,
    "Miller [slow:0.5]": 3,
    "Butcher [drop]": 2,
    "Brewer [reject]": 2,
}


@dataclass(slots=True)
class Callers:
    """All of them, and what they were told. `apis`: base URL of each API process by its name."""

    apis: Mapping[str, str]
    seed: int
    http: aiohttp.ClientSession
    asked: list[Asked] = field(default_factory=list)
    pause: float = 0.15  # seconds of each between two wishes, on average
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tokens: dict[str, str] = field(default_factory=lambda: {user: token(user) for user in USERS})

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Until the block ends; then wishes with a key are sent until they get their answer."""
        running = [asyncio.create_task(self._caller(number)) for number in range(CALLERS)]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*running)

    async def _caller(self, number: int) -> None:
        dice = random.Random(self.seed * 1000 + number)
        user = USERS[number % len(USERS)]
        mine: list[str] = []  # applications whose submission was answered
        count = 0
        while not self._stop.is_set():
            count += 1
            asked = self._wish(dice, user, f"{self.seed}-{number}-{count}", mine)
            self.asked.append(asked)
            await self._insist(asked, dice)
            if (done := asked.done) and asked.wish is Wish.SUBMIT:
                mine.append(done.body["application_id"])
            elif done and asked.wish is Wish.BATCH:
                mine.extend(item["application_id"] for item in done.body["results"])
            await asyncio.sleep(dice.uniform(0, 2 * self.pause))

    def _wish(self, dice: random.Random, user: str, name: str, mine: Sequence[str]) -> Asked:
        wish = dice.choices(list(WISHES), list(WISHES.values()))[0] if mine else Wish.SUBMIT
        key = f"key-{name}" if wish not in {Wish.CANCEL, Wish.READ} and dice.random() < KEYED_SHARE else None
        match wish:
            case Wish.SUBMIT:
                return Asked(wish, user, (name,), key)
            case Wish.BATCH:
                return Asked(wish, user, tuple(f"{name}.{item}" for item in range(dice.randint(1, 5))), key)
            case _:
                return Asked(wish, user, (), key, dice.choice(mine[-20:]))

    async def _insist(self, asked: Asked, dice: random.Random) -> None:
        """Once; one with a key again until it is answered, sometimes by two at the same moment."""
        send = self._sender(asked, dice)
        names = list(self.apis)
        if asked.key is None:
            await send(dice.choice(names))
            return
        if dice.random() < TWIN_SHARE:
            await asyncio.gather(*map(send, names))
        deadline: float | None = None
        while not _is_settled(asked):
            if self._stop.is_set():
                deadline = deadline or asyncio.get_running_loop().time() + LAST_TRIES_SECONDS
                if asyncio.get_running_loop().time() > deadline:
                    return
            if asked.told:
                await asyncio.sleep(AGAIN_SECONDS)
            await send(dice.choice(names))
        if dice.random() < TWIN_SHARE:  # somebody who has not heard the answer
            await send(dice.choice(names))

    # -- one request --------------------------------------------------------------------------------------------------

    def _sender(self, asked: Asked, dice: random.Random) -> Any:
        """Sends the same request each time, to the API process that it is given."""
        headers = {"Authorization": f"Bearer {self._tokens[asked.user]}"}
        if asked.key is not None:
            headers["X-Idempotency-Key"] = asked.key
        cv = CV if asked.wish in {Wish.SUBMIT, Wish.BATCH} and dice.random() < CV_SHARE else None
        match asked.wish:
            case Wish.SUBMIT:
                path, method, form = "/applications", "POST", {"jobs": json.dumps({"jobs": _jobs(dice, asked.tags[0])})}
            case Wish.BATCH:
                items = [{"jobs": _jobs(dice, tag)} for tag in asked.tags]
                path, method, form = "/batch/applications", "POST", {"items": json.dumps(items)}
            case Wish.RETRY:
                path, method, form = f"/applications/{asked.application_id}/retry", "POST", {}
            case Wish.CANCEL:
                path, method, form = f"/applications/{asked.application_id}", "DELETE", {}
            case Wish.READ:
                status = f"/applications/{asked.application_id}/status"
                path, method, form = dice.choice((status, status, *LISTS)), "GET", {}

        async def send(api: str) -> None:
            data = _form(form, cv) if form else None
            asked.told.append(await self._ask(api, method, path, headers, data))

        return send

    async def _ask(
        self, api: str, method: str, path: str, headers: Mapping[str, str], data: aiohttp.FormData | None
    ) -> Told:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with self.http.request(
                method, self.apis[api] + path, headers=headers, data=data,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            ) as response:  # fmt: skip
                body = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return Told(api, NO_ANSWER, began, loop.time())
        position = response.headers.get("X-Event-Position")
        return Told(
            api,
            response.status,
            began,
            loop.time(),
            body if response.status == 200 else None,
            body.get("code"),
            response.headers.get("Retry-After"),
            int(position) if position else None,
        )


def _is_settled(asked: Asked) -> bool:
    """2xx, or a refusal that stays one."""
    return any(one.done or (400 <= one.status < 500 and one.retry_after is None) for one in asked.told)


def _jobs(dice: random.Random, tag: str) -> list[dict[str, str]]:
    titles = dice.choices(list(TITLES), list(TITLES.values()), k=dice.choice((1, 1, 1, 2, 3)))
    return [{"title": title, "portal": dice.choice(PORTALS), "company_name": tag} for title in titles]


def _form(fields: Mapping[str, str], cv: bytes | None) -> aiohttp.FormData:
    form = aiohttp.FormData(fields, default_to_multipart=True)
    if cv is not None:
        form.add_field("cv", cv, filename="cv.pdf", content_type="application/pdf")
    return form
