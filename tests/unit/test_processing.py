"""What a worker does with one piece of work (contract messaging.md 3, portals.md 1, design 7)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from consumers.portals import Applied, Delivery, NotTaken, Outcome, PortalResting, Refused, Submission, Unknown
from consumers.processing import Handled, claim_name
from domain.application_events import ApplicationFailed, DocumentsWritten, RetryScheduled
from domain.event import RecordedEvent
from domain.ports import Append
from domain.retry import RetryPolicy
from tests.builders import a_job, an_application
from tests.fakes.event_log import FakeEventLog
from tests.workshop import CAUSE, ScriptedPortal, Workshop, a_new_id

BUSY = NotTaken("503 Service Unavailable", "PortalUnavailableError")
DONE = [
    "submitted",
    "processing_started",
    "documents_written",
    "job_attempted",
    "job_applied",
    "succeeded",
]


@pytest.fixture
def portal() -> ScriptedPortal:
    return ScriptedPortal()


@pytest.fixture
async def shop(portal: ScriptedPortal) -> AsyncIterator[Workshop]:
    async with Workshop([portal]) as shop:
        yield shop


def blind(*answers: Any) -> ScriptedPortal:
    """A portal that takes no idempotency key."""
    return ScriptedPortal("sandbox", Delivery.AT_MOST_ONCE, list(answers))


# -- the way to success -----------------------------------------------------------------------------------------------


async def test_a_job_is_attempted_in_the_log_before_the_portal_and_its_result_ends_the_application(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    id = await shop.submitted()

    async def look(_: Submission) -> Outcome:
        assert await shop.names(id) == DONE[:4]
        return Applied("SBX-1")

    portal.answers = [look]
    assert await shop.handle(id, version=1) is Handled.SUCCESS
    assert await shop.names(id) == DONE


async def test_the_portal_gets_the_job_the_documents_of_the_log_and_a_key(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    id = await shop.submitted(a_job(), a_job("Miller"))
    await shop.handle(id)
    written = {e.position: e.documents for e in await shop.events(id) if isinstance(e, DocumentsWritten)}
    first, second = sorted(portal.submissions, key=lambda submission: submission.entry_id)
    assert (first.entry_id, second.entry_id) == (f"{id.hex}-1", f"{id.hex}-2")
    assert first.idempotency_key == f"{id.hex}-1-1"
    assert (first.application_id, first.user_id, first.correlation_id) == (id.hex, "ada", "c-1")
    assert first.job == a_job().model_dump()
    assert first.documents == written[1].model_dump()


async def test_the_claim_is_held_meanwhile_and_free_afterwards(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.submitted()

    async def look(_: Submission) -> Outcome:
        assert await shop.claims.held([claim_name(id)])
        return Applied(None)

    portal.answers = [look]
    await shop.handle(id)
    assert not await shop.claims.held([claim_name(id)])


# -- nothing to do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [
        an_application().submitted(cv=None).cancelled(),
        an_application().submitted(cv=None).started().attempted().applied().succeeded(),
        an_application().submitted(cv=None).started().attempted().refused().failed(),
    ],
)
async def test_an_ended_application_is_left_alone(shop: Workshop, portal: ScriptedPortal, story: Any) -> None:
    id = await shop.given(story)
    assert await shop.handle(id) is Handled.NOTHING
    assert await shop.events(id) == list(story.events)
    assert portal.submissions == []


async def test_a_message_older_than_what_queued_it_last_is_left_alone(shop: Workshop, portal: ScriptedPortal) -> None:
    story = an_application().submitted(cv=None).started().attempted().retry_scheduled()
    id = await shop.given(story)
    assert await shop.handle(id, version=1) is Handled.NOTHING
    assert portal.submissions == []
    assert await shop.handle(id, version=5) is Handled.SUCCESS


async def test_an_application_that_does_not_exist_or_is_anothers_is_unknown(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    id = await shop.submitted()
    assert await shop.handle(a_new_id()) is Handled.UNKNOWN
    assert await shop.handle(id, user="bob") is Handled.UNKNOWN
    assert await shop.names(id) == ["submitted"]


async def test_a_message_without_a_version_is_worked_on(shop: Workshop) -> None:
    assert await shop.handle(await shop.submitted(), version=None) is Handled.SUCCESS


# -- transient and permanent ------------------------------------------------------------------------------------------


async def test_a_job_that_is_not_taken_is_tried_again_later(shop: Workshop, portal: ScriptedPortal) -> None:
    portal.answers = [BUSY, Applied("SBX-1")]
    id = await shop.submitted()
    assert await shop.handle(id) is Handled.WAITING
    [retry] = [one for one in await shop.log.read_stream(id) if isinstance(one.event, RetryScheduled)]
    assert isinstance(retry.event, RetryScheduled)
    assert (retry.event.due_at - retry.metadata.at).total_seconds() == pytest.approx(1.0, abs=0.01)
    assert retry.event.counted
    assert not await shop.claims.held([claim_name(id)])
    assert await shop.handle(id) is Handled.SUCCESS
    assert len(set(portal.keys)) == 1
    assert len(shop.writer.requests) == 1, "documents are written once a round"


async def test_it_fails_when_its_attempts_are_used_up(shop: Workshop, portal: ScriptedPortal) -> None:
    portal.answers = [BUSY]
    id = await shop.submitted()
    assert await shop.handle_until_ended(id) is Handled.FAILED
    assert len(portal.submissions) == 1 + shop.policy.max_retries
    failed = (await shop.events(id))[-1]
    assert isinstance(failed, ApplicationFailed)
    assert failed.reason == "Max retries exceeded: 503 Service Unavailable"
    assert (failed.attempts, failed.error_type) == (3, "PortalUnavailableError")


async def test_without_retries_the_first_attempt_is_the_last(portal: ScriptedPortal) -> None:
    portal.answers = [BUSY]
    async with Workshop([portal], RetryPolicy(max_retries=0)) as shop:
        assert await shop.handle(await shop.submitted()) is Handled.FAILED
        assert len(portal.submissions) == 1


@pytest.mark.parametrize(("asked", "waits"), [(7.0, 7.0), (90.0, 16.0), (0.1, 1.0)])
async def test_a_portal_may_ask_for_a_longer_wait_up_to_the_longest_delay(
    shop: Workshop, portal: ScriptedPortal, asked: float, waits: float
) -> None:
    portal.answers = [NotTaken("429 Too Many Requests", retry_after=asked)]
    id = await shop.submitted()
    await shop.handle(id)
    last = (await shop.log.read_stream(id))[-1]
    assert isinstance(last.event, RetryScheduled)
    assert (last.event.due_at - last.metadata.at).total_seconds() == pytest.approx(waits, abs=0.01)


async def test_a_refusal_is_final_and_a_persons_retry_uses_a_new_key(shop: Workshop, portal: ScriptedPortal) -> None:
    portal.answers = [Refused("Position closed"), Applied("SBX-1")]
    id = await shop.submitted()
    assert await shop.handle(id) is Handled.FAILED
    await shop.commands.retry("ada", id, CAUSE)
    assert await shop.handle(id) is Handled.SUCCESS
    assert portal.keys == [f"{id.hex}-1", f"{id.hex}-2"]


async def test_a_retry_sends_only_the_failed_jobs(shop: Workshop, portal: ScriptedPortal) -> None:
    async def by_title(submission: Submission) -> Outcome:
        first = submission.idempotency_key.endswith("-1")
        return Refused("No") if submission.job["title"] == "Miller" and first else Applied(None)

    portal.answers = [by_title]
    id = await shop.submitted(a_job(), a_job("Miller"), a_job("Cook"))
    assert await shop.handle(id) is Handled.FAILED
    await shop.commands.retry("ada", id, CAUSE)
    assert await shop.handle(id) is Handled.SUCCESS
    assert portal.keys[3:] == [f"{id.hex}-2-2"]


async def test_an_unknown_outcome_goes_out_again_under_the_same_key(shop: Workshop, portal: ScriptedPortal) -> None:
    portal.answers = [Unknown("502 Bad Gateway"), Applied("SBX-1")]
    id = await shop.submitted()
    assert await shop.handle_until_ended(id) is Handled.SUCCESS
    assert len(portal.keys) == 2
    assert len(set(portal.keys)) == 1
    assert portal.submissions[0].documents == portal.submissions[1].documents


async def test_an_unknown_outcome_of_a_portal_without_keys_is_never_sent_again() -> None:
    portal = blind(Unknown("no answer within 30 s", "TimeoutError"))
    async with Workshop([portal]) as shop:
        id = await shop.submitted()
        assert await shop.handle(id) is Handled.FAILED
        failed = (await shop.events(id))[-1]
        assert isinstance(failed, ApplicationFailed)
        assert (failed.reason, failed.error_type) == ("Outcome unknown: no answer within 30 s", "TimeoutError")
        assert len(portal.submissions) == 1


async def test_what_a_dead_worker_sent_to_a_portal_without_keys_is_not_sent_again() -> None:
    portal = blind(Applied(None))
    async with Workshop([portal]) as shop:
        id = await shop.given(an_application().submitted(jobs=2, cv=None).started().attempted_blind(1))
        assert await shop.handle(id) is Handled.FAILED
        assert portal.keys == [f"{id.hex}-2-1"]
        assert not await shop.claims.held([claim_name(id)])


async def test_what_a_dead_worker_sent_to_a_portal_with_keys_goes_out_again(
    shop: Workshop, portal: ScriptedPortal
) -> None:
    story = an_application().submitted(cv=None).started().attempted()
    id = await shop.given(story)
    assert await shop.handle(id) is Handled.SUCCESS
    assert portal.keys == [f"{id.hex}-1"]
    assert portal.submissions[0].documents == story.application.jobs[0].documents.model_dump()  # type: ignore[union-attr]


async def test_what_kills_every_worker_fails_at_last_and_is_not_sent(shop: Workshop, portal: ScriptedPortal) -> None:
    id = await shop.given(an_application().submitted(cv=None).started().started().started())
    assert await shop.handle(id) is Handled.FAILED
    assert portal.submissions == []
    assert not await shop.claims.held([claim_name(id)])


# -- portals ----------------------------------------------------------------------------------------------------------


async def test_a_job_without_a_portal_fails_with_a_reason_that_says_so(shop: Workshop) -> None:
    id = await shop.submitted(a_job(portal="nowhere"))
    assert await shop.handle(id) is Handled.FAILED
    failed = (await shop.events(id))[-1]
    assert isinstance(failed, ApplicationFailed)
    assert failed.reason == "No portal is configured for 'nowhere'"
    assert failed.error_type == "PortalNotConfiguredError"


async def test_jobs_of_a_resting_portal_are_given_back_uncounted_and_others_go_on(portal: ScriptedPortal) -> None:
    resting = ScriptedPortal("resting", answers=[PortalResting("resting", 4.0)])
    async with Workshop([portal, resting]) as shop:
        id = await shop.submitted(a_job(portal="resting"), a_job())
        assert await shop.handle(id) is Handled.WAITING
        assert len(portal.submissions) == 1
        last = (await shop.log.read_stream(id))[-1]
        assert isinstance(last.event, RetryScheduled)
        assert not last.event.counted
        assert (last.event.due_at - last.metadata.at).total_seconds() == pytest.approx(4.0, abs=0.01)
        [wait] = last.event.waiting
        assert (wait.position, wait.resting_since is not None) == (1, True)


async def test_the_appends_of_one_run_do_not_conflict(portal: ScriptedPortal) -> None:
    class SlowLog(FakeEventLog):
        async def append(self, append: Append) -> int:
            await asyncio.sleep(0)
            return await super().append(append)

        async def read_stream(self, stream_id: UUID) -> Sequence[RecordedEvent]:
            reads.append(stream_id)
            return await super().read_stream(stream_id)

    reads: list[UUID] = []
    async with Workshop([portal], log=SlowLog()) as shop:
        id = await shop.submitted(*(a_job(f"Job {n}") for n in range(8)))
        assert await shop.handle(id) is Handled.SUCCESS
    assert reads == [id], "a conflict would have loaded it again"


async def test_many_jobs_run_side_by_side_and_each_is_sent_once(shop: Workshop, portal: ScriptedPortal) -> None:
    at_once, most = 0, 0

    async def slowly(_: Submission) -> Outcome:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        return Applied(None)

    portal.answers = [slowly]
    id = await shop.submitted(*(a_job(f"Job {n}") for n in range(60)))
    assert await shop.handle(id) is Handled.SUCCESS
    assert len(set(portal.keys)) == len(portal.keys) == 60
    assert 1 < most <= 16
