"""Rate limits of applications, and of many processes together (contract http.md 1.4, 1.5, 7.1)."""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from domain.errors import DomainError, OutcomeUnknown, Overloaded
from domain.ports import Append, EventLog
from infra.settings import Settings
from tests.api import PDF, Api, User, running_api
from tests.limits import (
    APPLICATIONS,
    FOREVER,
    HOUR,
    REQUESTS,
    StoppedClock,
    created,
    limited_settings,
    remaining,
    standing,
    statuses,
    submit,
    submit_batch,
    too_many,
    with_clock,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(scope="module")
def settings(mongodb_uri: str, api_database: str, api_folder: Path) -> Settings:
    return limited_settings(mongodb_uri, api_database, api_folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(settings: Settings, clock: StoppedClock) -> AsyncIterator[Api]:
    async with running_api(settings, changed=with_clock(clock)) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(settings: Settings, clock: StoppedClock) -> AsyncIterator[Api]:
    """Another API on the stores of `api`."""
    async with running_api(settings, projected=False, changed=with_clock(clock)) as second:
        yield second


@pytest.fixture
def ada(api: Api) -> User:
    return api.user(exp=FOREVER)


# -- applications -----------------------------------------------------------------------------------------------------


async def test_created_applications_have_a_bucket_of_their_own(api: Api, ada: User, clock: StoppedClock) -> None:
    reset = math.ceil(clock.seconds + HOUR)
    for number in range(1, APPLICATIONS + 1):
        answer = await ada.submit()
        assert (answer.status, remaining(answer)) == (200, (REQUESTS, REQUESTS - number)), "that of requests"
    refused = too_many(await ada.submit(cv=PDF))
    assert standing(refused) == (APPLICATIONS, 0, reset)
    assert remaining(await ada.get("/applied")) == (REQUESTS, REQUESTS - APPLICATIONS - 1), "the refused one took none"
    assert await created(api, ada) == APPLICATIONS
    clock.advance(HOUR)
    assert (await ada.submit()).status == 200


async def test_what_is_refused_for_itself_takes_no_application(ada: User) -> None:
    for jobs in ("", "{}", "no JSON", '{"jobs": []}'):
        assert (await ada.submit(jobs)).status == 422
    assert (await submit_batch(ada, 101)).status == 400
    for _ in range(APPLICATIONS):
        assert (await ada.submit()).status == 200


async def test_a_batch_takes_one_per_item_and_is_refused_whole(api: Api, ada: User) -> None:
    assert (await submit_batch(ada, APPLICATIONS - 1)).status == 200
    refused = too_many(await submit_batch(ada, 2))
    assert remaining(refused) == (APPLICATIONS, 1)
    assert await created(api, ada) == APPLICATIONS - 1
    assert (await ada.submit()).status == 200
    too_many(await submit_batch(ada, 1))


async def test_a_batch_that_never_fits_is_refused(ada: User) -> None:
    assert remaining(too_many(await submit_batch(ada, APPLICATIONS + 1))) == (APPLICATIONS, APPLICATIONS)
    assert (await submit_batch(ada, APPLICATIONS)).status == 200


async def test_a_retry_takes_no_application(ada: User) -> None:
    answers = [await ada.submit() for _ in range(APPLICATIONS)]
    answer = await ada.ask("POST", f"/applications/{answers[0].json['application_id']}/retry")
    answer.refused(409, "ERR_2002", "ApplicationStateError")


async def test_a_replay_takes_from_the_requests_only(ada: User) -> None:
    answers = [await submit(ada, "k") for _ in range(5)]
    assert {answer.json["application_id"] for answer in answers} == {answers[0].json["application_id"]}
    assert [remaining(answer)[1] for answer in answers] == [REQUESTS - number for number in range(1, 6)]
    for key in range(APPLICATIONS - 1):
        assert (await submit(ada, f"k{key}")).status == 200
    assert remaining(await submit(ada, "k")) == (REQUESTS, REQUESTS - 5 - APPLICATIONS)
    too_many(await submit(ada, "another"))


async def test_duplicates_through_two_apis_count_one_application(api: Api, second: Api) -> None:
    user_id = uuid4().hex
    users = [one.user(user_id, exp=FOREVER) for one in (api, second)]
    for place in range(APPLICATIONS):  # the last time there is but one left
        some = (
            [submit(user, f"k{place}", str(place)) for user in users]
            if place
            else [submit(user, "k0", "0") for user in users * 2]
        )
        answers = await asyncio.gather(*some)
        assert {answer.status for answer in answers} == {200}, [answer.body for answer in answers]
        assert len({answer.body for answer in answers}) == 1
    too_many(await submit(users[0], "another"))
    assert await created(api, users[0]) == APPLICATIONS


@dataclasses.dataclass
class RefusingLog:
    """A log that refuses appends while it has an error."""

    log: EventLog
    error: DomainError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)

    async def append(self, append: Append) -> int:
        if self.error:
            raise self.error
        return await self.log.append(append)


@pytest.mark.parametrize(("error", "left"), [(Overloaded("x"), 3), (OutcomeUnknown("x"), 1)])
async def test_what_was_surely_not_created_is_given_back(
    settings: Settings, clock: StoppedClock, error: DomainError, left: int
) -> None:
    refusing: list[RefusingLog] = []

    def log(real: EventLog) -> EventLog:
        refusing.append(RefusingLog(real, error))
        return refusing[0]  # type: ignore[return-value]

    async with running_api(settings, projected=False, changed=with_clock(clock, log)) as api:
        ada = api.user(exp=FOREVER)
        assert (await ada.submit()).status == 503
        assert (await ada.submit()).status == 503
        refusing[0].error = None
        if left == APPLICATIONS:
            assert (await submit_batch(ada, APPLICATIONS)).status == 200
        else:
            assert remaining(too_many(await submit_batch(ada, APPLICATIONS))) == (APPLICATIONS, left)


# -- many processes ---------------------------------------------------------------------------------------------------


async def test_a_limit_holds_over_two_apis_at_once(api: Api, second: Api) -> None:
    user_id = uuid4().hex
    users = [one.user(user_id, exp=FOREVER) for one in (api, second)]
    answers = await asyncio.gather(*(user.get("/applied") for user in users * 20))
    assert statuses(answers) == {200: REQUESTS, 429: 40 - REQUESTS}
    assert min(remaining(answer)[1] for answer in answers if answer.status == 200) == 0
    for user in users:
        assert remaining(too_many(await user.get("/applied"))) == (REQUESTS, 0)


async def test_no_more_applications_than_allowed_are_created_through_two_apis(api: Api, second: Api) -> None:
    user_id = uuid4().hex
    users = [one.user(user_id, exp=FOREVER) for one in (api, second)]
    answers = await asyncio.gather(*(user.submit() for user in users * 4))
    assert statuses(answers) == {200: APPLICATIONS, 429: 8 - APPLICATIONS}
    assert await created(api, users[0]) == APPLICATIONS


async def test_counts_outlive_a_process(settings: Settings, clock: StoppedClock) -> None:
    user_id = uuid4().hex
    for before in range(3):
        async with running_api(settings, projected=False, changed=with_clock(clock)) as one:
            answer = await one.user(user_id, exp=FOREVER).get("/nowhere")
            assert remaining(answer) == (REQUESTS, REQUESTS - 1 - before)
