"""A worker's processing when claims are lost, stores are away, CVs are gone, or the worker stops (design 7)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import domain.application
from consumers.portals import Applied, Delivery, Outcome, Refused, Submission
from consumers.processing import Handled, claim_name
from domain.application_events import ApplicationFailed, JobFailed, RetryScheduled
from domain.errors import StoreUnavailable
from domain.job import Documents
from domain.ports import Append, Claim
from tests.builders import CV, a_job
from tests.workshop import CAUSE, ScriptedPortal, Workshop, until


@pytest.fixture
def portal() -> ScriptedPortal:
    return ScriptedPortal()


@pytest.fixture
async def shop(portal: ScriptedPortal) -> AsyncIterator[Workshop]:
    async with Workshop([portal]) as shop:
        yield shop


# -- claims -----------------------------------------------------------------------------------------------------------


async def test_an_application_of_another_worker_is_left_to_it(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()
    other = Claim(claim_name(id), "w2", 5.0)
    await shop.claims.take(other)
    assert await shop.handle(id) is Handled.CLAIMED
    assert await shop.names(id) == ["submitted"]
    await shop.claims.release(other)
    assert await shop.handle(id) is Handled.SUCCESS


async def test_a_later_start_ends_a_run_but_what_the_portal_took_is_recorded(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    id = await shop.submitted(a_job(), a_job("Miller", portal="slow"))
    slow = ScriptedPortal("slow")
    shop.portals = [portal, slow]
    cancelled = asyncio.Event()

    async def overtaken(_: Submission) -> Outcome:
        await until(lambda: bool(slow.submissions))
        loaded = await shop.commands.load(id)
        assert loaded
        await shop.commands.start(loaded, CAUSE, Claim("another", "w2", 5.0))
        return Applied("SBX-1")

    async def hang(_: Submission) -> Outcome:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            cancelled.set()
            raise

    portal.answers, slow.answers = [overtaken], [hang]
    assert await shop.handle(id) is Handled.CLAIMED
    assert cancelled.is_set()
    assert (await shop.names(id))[-2:] == ["processing_started", "job_applied"]


async def test_a_refusal_that_comes_after_a_later_start_is_not_recorded(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()

    async def overtaken(_: Submission) -> Outcome:
        loaded = await shop.commands.load(id)
        assert loaded
        await shop.commands.start(loaded, CAUSE, Claim("another", "w2", 5.0))
        return Refused("Position closed")

    portal.answers = [overtaken]
    assert await shop.handle(id) is Handled.CLAIMED
    assert (await shop.names(id))[-1] == "processing_started"


# -- stores away ------------------------------------------------------------------------------------------------------


async def test_without_the_log_nothing_begins(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()
    shop.log.trouble = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await shop.handle(id)
    assert portal.submissions == []


async def test_no_portal_is_called_when_the_attempt_cannot_be_recorded(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()

    async def log_goes() -> None:
        shop.log.trouble = StoreUnavailable("away")
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(shop.log, "trouble", None))

    shop.writer.write = _after(shop.writer.write, log_goes)  # type: ignore[method-assign]
    assert await shop.handle(id) is Handled.WAITING
    assert portal.submissions == []
    last = (await shop.events(id))[-1]
    assert isinstance(last, RetryScheduled)
    assert not last.counted


async def test_a_result_waits_for_the_log(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()

    async def log_goes(_: Submission) -> Outcome:
        shop.log.trouble = StoreUnavailable("away")
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(shop.log, "trouble", None))
        return Applied("SBX-1")

    portal.answers = [log_goes]
    assert await shop.handle(id) is Handled.SUCCESS
    assert len(portal.submissions) == 1


async def test_a_result_that_outlives_its_claim_is_recorded_if_the_portal_took_the_job(portal: ScriptedPortal) -> None:
    async with Workshop([portal], claim_seconds=0.3) as shop:
        id = await shop.submitted()
        claims = shop.claims

        async def log_goes(_: Submission) -> Outcome:
            shop.log.trouble = StoreUnavailable("away")
            claims.renew = _away  # type: ignore[assignment, method-assign]
            return Applied("SBX-1")

        portal.answers = [log_goes]
        assert await shop.handle(id) is Handled.CLAIMED
        shop.log.trouble = None
        await shop.late.finish(5)
        assert (await shop.names(id))[-2:] == ["job_applied", "succeeded"]


async def test_a_slow_database_does_not_let_a_claim_run_out_unnoticed(portal: ScriptedPortal) -> None:
    async with Workshop([portal], claim_seconds=0.3) as shop:
        id = await shop.submitted()
        shop.claims.renew = _never  # type: ignore[assignment, method-assign]
        broken_off = asyncio.Event()

        async def hang(_: Submission) -> Outcome:
            try:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
            finally:
                broken_off.set()

        portal.answers = [hang]
        begun = asyncio.get_running_loop().time()
        assert await shop.handle(id) is Handled.CLAIMED
        assert broken_off.is_set()
        assert asyncio.get_running_loop().time() - begun < 0.4
        assert (await shop.names(id))[-1] == "job_attempted"


# -- a log so slow that claims are lost -------------------------------------------------------------------------------


class Slow:
    """The log from here on: appends get in, their answers take `seconds`, and no claim is renewed. Until `end`."""

    def __init__(self, shop: Workshop, seconds: float) -> None:
        self._shop, self._seconds = shop, seconds
        self._append, self._renew = shop.log.append, shop.claims.renew
        shop.log.append, shop.claims.renew = self.append, _never  # type: ignore[assignment, method-assign]

    def end(self) -> None:
        self._shop.log.append, self._shop.claims.renew = self._append, self._renew  # type: ignore[method-assign]

    async def append(self, append: Append) -> int:
        position = await self._append(append)
        await asyncio.sleep(self._seconds)
        return position


async def test_what_was_not_sent_before_its_claim_was_lost_is_given_back(portal: ScriptedPortal) -> None:
    """Its attempt is in the log, and its portal takes no keys: else it would fail with an unknown outcome."""
    portal.delivery = Delivery.AT_MOST_ONCE
    async with Workshop([portal], claim_seconds=0.3) as shop:
        id = await shop.submitted()

        slow: list[Slow] = []

        async def log_stalls() -> None:
            slow.append(Slow(shop, 0.5))

        shop.writer.write = _after(shop.writer.write, log_stalls)  # type: ignore[method-assign]
        assert await shop.handle(id) is Handled.CLAIMED
        await shop.late.finish(5)
        assert (await shop.names(id))[-2:] == ["job_attempted", "retry_scheduled"]
        given_back = (await shop.events(id))[-1]
        assert isinstance(given_back, RetryScheduled)
        assert not given_back.counted
        assert portal.submissions == []
        slow[0].end()
        assert await shop.handle(id) is Handled.SUCCESS


async def test_starts_that_come_to_nothing_as_the_log_is_slow_count_for_no_dead_worker(portal: ScriptedPortal) -> None:
    async with Workshop([portal], claim_seconds=0.2) as shop:
        id = await shop.submitted()
        for _ in range(shop.policy.max_retries + 2):
            slow = Slow(shop, 0.25)
            assert await shop.handle(id) is Handled.CLAIMED
            await shop.late.finish(5)
            slow.end()
        assert (await shop.names(id)).count("processing_started") == shop.policy.max_retries + 2
        assert portal.submissions == []
        assert await shop.handle(id) is Handled.SUCCESS


async def test_who_always_loses_his_claim_is_given_up_after_a_while(
    portal: ScriptedPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workshop([portal], claim_seconds=0.2) as shop:
        id = await shop.submitted()
        slow = Slow(shop, 0.25)
        assert await shop.handle(id) is Handled.CLAIMED
        await shop.late.finish(5)
        monkeypatch.setattr(domain.application, "RESTING_LIMIT_SECONDS", 0.1)
        assert await shop.handle(id) is Handled.CLAIMED
        await shop.late.finish(5)
        slow.end()
        failed, end = (await shop.events(id))[-2:]
        assert isinstance(failed, JobFailed)
        assert failed.reason == "Max retries exceeded: the event log did not answer in time"
        assert isinstance(end, ApplicationFailed)


async def test_what_a_rival_sends_under_a_later_start_is_not_given_back(portal: ScriptedPortal) -> None:
    """His claim counts by the log's clock, ours still by our own: else a portal without keys would get it again."""
    portal.delivery = Delivery.AT_MOST_ONCE
    async with Workshop([portal]) as shop:
        id = await shop.submitted()

        async def rival_sends() -> None:
            loaded = await shop.commands.load(id)
            assert loaded
            started = await shop.commands.start(loaded, CAUSE, Claim("another", "w2", 5.0))
            await shop.commands.begin_attempt(started, CAUSE, 1, portal.name, portal.delivery, Documents())

        shop.writer.write = _after(shop.writer.write, rival_sends)  # type: ignore[method-assign]
        assert await shop.handle(id) is Handled.CLAIMED
        await shop.late.finish(5)
        assert (await shop.names(id))[-2:] == ["documents_written", "job_attempted"]
        assert portal.submissions == []


async def test_what_a_portal_without_keys_may_have_is_not_given_back(portal: ScriptedPortal) -> None:
    portal.delivery = Delivery.AT_MOST_ONCE
    async with Workshop([portal], claim_seconds=0.2) as shop:
        id = await shop.submitted(a_job(), a_job("Miller"))
        shop.claims.renew = _never  # type: ignore[assignment, method-assign]
        portal.answers = [_hang]
        assert await shop.handle(id) is Handled.CLAIMED
        await shop.late.finish(5)
        assert len(portal.submissions) == 2
        assert (await shop.names(id))[-1] == "job_attempted"
        await shop.claims.release(shop.keeper.claim(claim_name(id)))
        assert await shop.handle(id) is Handled.FAILED
        failed = [event for event in await shop.events(id) if isinstance(event, JobFailed)]
        assert [event.reason.startswith("Outcome unknown") for event in failed] == [True, True]
        assert len(portal.submissions) == 2


async def _hang(_: Submission) -> Outcome:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def _away(*_: object) -> set[str]:
    raise StoreUnavailable("away")


async def _never(*_: object) -> set[str]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def _after(call: Any, then: Any) -> Any:
    async def both(*arguments: Any) -> Any:
        result = await call(*arguments)
        await then()
        return result

    return both


# -- CVs and documents ------------------------------------------------------------------------------------------------


async def test_the_cvs_text_goes_to_the_writer_and_the_file_to_the_portal(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    shop.cvs.files[CV.id] = b"pdf of ada"
    id = await shop.submitted(cv=CV, style="modern")
    assert await shop.handle(id) is Handled.SUCCESS
    [request], [submission] = shop.writer.requests, portal.submissions
    assert (request.cv_text, request.style) == ("text of pdf of ada", "modern")
    assert submission.cv is not None
    assert b"".join([chunk async for chunk in submission.cv.chunks()]) == b"pdf of ada"
    assert submission.documents["resume_optimized"] == {"text": "text of pdf of ada"}


async def test_while_the_cvs_store_is_away_nothing_begins(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted(cv=CV)
    shop.cvs.trouble = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await shop.handle(id)
    assert await shop.names(id) == ["submitted"]


async def test_a_cv_that_is_gone_fails_the_application(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted(a_job(), a_job("Miller"), cv=CV)
    assert await shop.handle(id) is Handled.FAILED
    failed = (await shop.events(id))[-1]
    assert isinstance(failed, ApplicationFailed)
    assert "ERR_4001" in failed.reason
    assert failed.error_type == "ResumeNotFoundError"
    assert portal.submissions == []


async def test_a_store_that_fails_at_the_portal_costs_no_attempt(shop: Workshop, portal: ScriptedPortal) -> None:
    async def cv_is_away(_: Submission) -> Outcome:
        raise StoreUnavailable("away")

    portal.answers = [cv_is_away, Applied(None)]
    id = await shop.submitted()
    assert await shop.handle(id) is Handled.WAITING
    last = (await shop.events(id))[-1]
    assert isinstance(last, RetryScheduled)
    assert not last.counted
    assert await shop.handle(id) is Handled.SUCCESS


async def test_documents_that_cannot_be_written_for_now_are_tried_again(shop: Workshop, portal: ScriptedPortal) -> None:
    shop.writer.trouble = TimeoutError("the model is slow")
    id = await shop.submitted()
    assert await shop.handle(id) is Handled.WAITING
    assert portal.submissions == []
    assert await shop.handle(id) is Handled.SUCCESS


async def test_documents_that_cannot_be_written_at_all_fail_the_job(shop: Workshop, portal: ScriptedPortal) -> None:
    shop.writer.trouble = ValueError("no such style")
    id = await shop.submitted()
    assert await shop.handle(id) is Handled.FAILED
    [failed] = [event for event in await shop.events(id) if isinstance(event, JobFailed)]
    assert (failed.error_type, failed.documents) == ("ValueError", Documents())
    assert portal.submissions == []


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_gives_back_what_it_has_not_begun(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()
    shop.halt.begin_nothing()
    assert await shop.handle(id) is Handled.WAITING
    assert portal.submissions == []
    last = (await shop.log.read_stream(id))[-1]
    assert isinstance(last.event, RetryScheduled)
    assert not last.event.counted
    assert last.event.due_at <= last.metadata.at


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_a_portal_call_that_is_broken_off_is_sent_again_only_with_keys(delivery: Delivery) -> None:
    portal = ScriptedPortal(delivery=delivery)
    async with Workshop([portal]) as shop:
        id = await shop.submitted()

        async def stop(_: Submission) -> Outcome:
            asyncio.get_running_loop().call_soon(shop.halt.break_off)
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        portal.answers = [stop]
        handled = await shop.handle(id)
        last = (await shop.events(id))[-1]
        if delivery is Delivery.AT_LEAST_ONCE:
            assert handled is Handled.WAITING
            assert isinstance(last, RetryScheduled)
            assert not last.counted
        else:
            assert handled is Handled.FAILED
            assert isinstance(last, ApplicationFailed)
            assert last.reason.startswith("Outcome unknown: the worker was stopped")
        assert not await shop.claims.held([claim_name(id)])
