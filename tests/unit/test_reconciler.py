"""When an application counts as stuck, and what the reconciler leaves alone (design 7)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import pytest

from consumers.processing import claim_name
from consumers.reconciler import (
    QUEUE_SHORT,
    REQUEUED_MAX,
    Candidates,
    CvRemover,
    Reconciler,
    is_stuck,
    run_reconciler,
)
from consumers.relay_gauges import Outbox, QueueDepths
from domain.application_events import Requeued
from domain.commands import ApplicationCommands
from domain.errors import StoreUnavailable
from domain.event import Cause
from domain.parked_decisions import DecisionCommands, EventSkipped, StreamRetried
from domain.ports import Append, Claim
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.messages import QueueKind
from infra.settings import Settings
from projections.queries import SUBMISSIONS, Answer, Queries, Stuck
from tests.builders import CV, START, ApplicationStory, an_application
from tests.fakes.event_log import FakeEventLog

SUBMITTED = an_application().submitted()
STARTED = SUBMITTED.started()
WAITING = STARTED.attempted().retry_scheduled(due_at=START + timedelta(seconds=60))
RESTING = STARTED.attempted().retry_scheduled(due_at=START + timedelta(days=100_000))
ENDED = STARTED.attempted().applied().succeeded()
STUCK_AFTER = timedelta(minutes=2)


@pytest.mark.parametrize(
    ("story", "before", "stuck"),
    [
        (SUBMITTED, START + timedelta(seconds=1), True),
        (SUBMITTED, START, False),
        (STARTED, START + timedelta(seconds=2), True),
        (STARTED.requeued(), START + timedelta(seconds=2), False),
        (WAITING, START + timedelta(seconds=59), False),
        (WAITING, START + timedelta(seconds=61), True),
        (ENDED, START + timedelta(days=1), False),
        (SUBMITTED.cancelled(), START + timedelta(days=1), False),
    ],
)
def test_stuck_is_what_neither_moved_nor_was_to_be_retried_since(
    story: ApplicationStory, before: object, stuck: bool
) -> None:
    assert is_stuck(story.recorded(), before) is stuck  # type: ignore[arg-type]


@dataclass
class Surroundings:
    """What the reconciler sees of the relay, the broker and the read model.

    The candidates stay what they are, as those of a parked stream do; each waits since a second later than the one
    before.
    """

    candidates: Sequence[str] = ()
    all_given: bool = True
    depth: int | None = 0
    asked: list[str] = field(default_factory=list)
    fails_after: int = 1_000_000
    named: set[str] | None = field(default_factory=set)
    position: int = 0

    async def has_given_all_work(self) -> bool:
        return self.all_given

    async def of(self, kind: QueueKind) -> int | None:
        assert kind is QueueKind.PROCESSING
        return self.depth

    async def stuck(self, before: object, limit: int, after: datetime | None) -> Stuck:
        if len(self.asked) == self.fails_after:
            raise StoreUnavailable("It is away")
        self.asked.append("stuck")
        begin = 0 if after is None else (after - START) // timedelta(seconds=1) + 1
        ids = self.candidates[begin : begin + limit]
        return Stuck(ids, START + timedelta(seconds=begin + limit - 1) if len(ids) == limit else None)

    async def remove_unused(self, age: timedelta, named: object) -> int:
        return 0

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str] | None]:
        return Answer(self.named, self.position)


@dataclass
class Scene:
    log: FakeEventLog
    around: Surroundings
    reconciler: Reconciler

    async def requeued(self) -> list[UUID]:
        """The applications that were queued again, in the log's order."""
        return [one.stream_id for one in await self.log.read(0, 1_000_000) if isinstance(one.event, Requeued)]

    async def given(self, *stories: ApplicationStory) -> None:
        for story in stories:
            await self.log.append(Append(story.recorded()))
        self.around.candidates = [story.id.hex for story in stories]

    async def held(self, *stories: ApplicationStory) -> None:
        """Somebody works on them."""
        for story in stories:
            await self.log.claims.take(Claim(claim_name(story.id), "w1", 60))

    async def decided(self, decision: EventSkipped | StreamRetried) -> None:
        commands = DecisionCommands(self.log, SystemClock())
        await commands.record(decision.read_model, lambda _: [decision], Cause("operator:grace"))


@pytest.fixture
def scene() -> Scene:
    log, around = FakeEventLog(), Surroundings()
    commands = ApplicationCommands(log, SystemClock(), RetryPolicy())
    reconciler = Reconciler(
        commands,
        log.claims,
        cast(Outbox, around),
        cast(QueueDepths, around),
        cast(Queries, around),
        cast(CvStore, None),
        STUCK_AFTER,
    )
    return Scene(log, around, reconciler)


def another(story: ApplicationStory, number: int) -> ApplicationStory:
    return replace(story, id=UUID(int=story.id.int + number))


def some(count: int, story: ApplicationStory, first: int = 0) -> list[ApplicationStory]:
    return [another(story, number) for number in range(first, first + count)]


async def test_each_stuck_application_is_queued_again_once(scene: Scene) -> None:
    stories = [another(SUBMITTED, 1), another(STARTED, 2), another(ENDED, 3)]
    await scene.given(*stories)
    assert await scene.reconciler.requeue_stuck() == 2
    assert await scene.requeued() == [story.id for story in stories[:2]]
    assert await scene.reconciler.requeue_stuck() == 0, "the read model is behind, but the log knows"


async def test_a_candidate_that_the_log_does_not_know_is_left_alone(scene: Scene) -> None:
    scene.around.candidates = [UUID(int=7).hex]
    assert await scene.reconciler.requeue_stuck() == 0


async def test_one_that_somebody_works_on_is_left_alone(scene: Scene) -> None:
    await scene.given(STARTED)
    await scene.held(STARTED)
    assert await scene.reconciler.requeue_stuck() == 0


@pytest.mark.parametrize(("all_given", "depth"), [(False, 0), (True, QUEUE_SHORT), (True, None)])
async def test_a_backlog_is_not_doubled(scene: Scene, all_given: bool, depth: int | None) -> None:
    await scene.given(SUBMITTED)
    scene.around.all_given, scene.around.depth = all_given, depth
    assert await scene.reconciler.requeue_stuck() == 0
    assert scene.around.asked == []


async def test_candidates_whose_messages_may_still_wait_in_the_queue_are_left_there(scene: Scene) -> None:
    stories = [another(SUBMITTED, number) for number in (1, 2, 3)]
    await scene.given(*stories)
    scene.around.depth = 3
    assert await scene.reconciler.requeue_stuck() == 0
    scene.around.depth = 2
    assert await scene.reconciler.requeue_stuck() == 1
    assert await scene.requeued() == [stories[0].id]


# -- many candidates --------------------------------------------------------------------------------------------------

LOST = another(SUBMITTED, 5_000)


async def test_those_that_somebody_works_on_do_not_bar_the_way(scene: Scene) -> None:
    held = some(REQUEUED_MAX + 50, STARTED)
    await scene.given(*held, LOST)
    await scene.held(*held)
    assert await scene.reconciler.requeue_stuck() == 1
    assert await scene.requeued() == [LOST.id]


@pytest.mark.parametrize("story", [ENDED, RESTING], ids=["ended, and parked before it had", "waits for a retry"])
async def test_those_that_the_log_does_not_call_stuck_do_not_bar_the_way(scene: Scene, story: ApplicationStory) -> None:
    await scene.given(*some(REQUEUED_MAX + 50, story), LOST)
    assert await scene.reconciler.requeue_stuck() == 1
    assert not scene.reconciler.place.more
    assert await scene.requeued() == [LOST.id]


@pytest.mark.parametrize("pages", [1, 2])
async def test_nor_do_whole_pages_of_them(scene: Scene, pages: int) -> None:
    parked = some(pages * QUEUE_SHORT, ENDED)
    await scene.given(*parked, LOST)
    for _ in range(pages):
        assert await scene.reconciler.requeue_stuck() == 0
        assert scene.reconciler.place.more
    assert await scene.reconciler.requeue_stuck() == 1
    assert not scene.reconciler.place.more
    assert await scene.requeued() == [LOST.id]


async def test_after_the_last_page_comes_the_first_again(scene: Scene) -> None:
    await scene.given(*some(QUEUE_SHORT, ENDED), LOST)
    first = another(SUBMITTED, 6_000)
    assert [await scene.reconciler.requeue_stuck() for _ in range(2)] == [0, 1]
    await scene.log.append(Append(first.recorded()))
    scene.around.candidates = [first.id.hex, *scene.around.candidates]
    assert await scene.reconciler.requeue_stuck() == 1
    assert await scene.requeued() == [LOST.id, first.id]


async def test_a_look_that_the_queue_forbids_begins_nothing_anew(scene: Scene) -> None:
    await scene.given(*some(QUEUE_SHORT, ENDED), LOST)
    await scene.reconciler.requeue_stuck()
    scene.around.depth = None
    assert await scene.reconciler.requeue_stuck() == 0
    assert not scene.reconciler.place.more
    scene.around.depth = 0
    assert await scene.reconciler.requeue_stuck() == 1


async def test_an_outage_begins_nothing_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one comes in the midst of the candidates."""
    monkeypatch.setattr("consumers.reconciler.NEXT_LOOK_SECONDS", 0.01)
    await scene.given(*some(QUEUE_SHORT, ENDED), LOST)
    scene.around.fails_after = 1

    @asynccontextmanager
    async def reads() -> AsyncIterator[tuple[Candidates, CvRemover]]:
        scene.around.asked.clear()
        yield cast(Queries, scene.around), cast(CvStore, scene.around)

    one = scene.reconciler
    settings = Settings(secret_key="unit-only-unit-only-unit-only-00")  # type: ignore[arg-type]
    looking = asyncio.create_task(run_reconciler(settings, one.commands, one.claims, one.outbox, one.depths, reads))
    try:
        async with asyncio.timeout(10):
            while not await scene.requeued():
                await asyncio.sleep(0.01)
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def test_a_look_queues_so_many_and_the_next_goes_on_there(scene: Scene) -> None:
    """Nothing of a page is passed over."""
    lost = some(QUEUE_SHORT + 50, SUBMITTED)
    await scene.given(*lost)
    looks: list[int] = []
    while not looks or scene.reconciler.place.more:
        looks.append(await scene.reconciler.requeue_stuck())
    assert looks == [*[REQUEUED_MAX] * (QUEUE_SHORT // REQUEUED_MAX), 0, 50]
    assert await scene.requeued() == [story.id for story in lost]


async def test_only_what_is_stuck_counts_against_the_messages_that_wait(scene: Scene) -> None:
    held, parked, waiting = some(2, STARTED), some(2, ENDED, 10), some(2, SUBMITTED, 20)
    await scene.given(*held, *parked, *waiting)
    await scene.held(*held)
    scene.around.depth = 2
    assert await scene.reconciler.requeue_stuck() == 0
    scene.around.depth = 1
    assert await scene.reconciler.requeue_stuck() == 1
    assert await scene.requeued() == [waiting[0].id]


# -- CVs --------------------------------------------------------------------------------------------------------------


async def test_cvs_are_only_judged_by_a_read_model_that_knows_all_submissions(scene: Scene) -> None:
    await scene.given(*some(3, SUBMITTED))
    scene.around.named, scene.around.position = {"a"}, 3
    assert await scene.reconciler._named(["a", "b"]) == {"a"}
    await scene.given(another(SUBMITTED, 9))
    assert await scene.reconciler._named(["a", "b"]) is None


async def test_cvs_are_not_judged_while_a_submission_is_parked(scene: Scene) -> None:
    scene.around.named = None
    assert await scene.reconciler._named(["a", "b"]) is None


async def test_the_log_tells_of_a_submission_that_was_skipped_which_cv_it_names(scene: Scene) -> None:
    await scene.given(*some(2, an_application().submitted(cv=None), 1), SUBMITTED.started())
    scene.around.position = 1_000
    for position in (1, 3, 4):
        await scene.decided(skipped_at(position))
        named = await scene.reconciler._named([CV.id, "another"])
        assert named == ({CV.id} if position >= 3 else set())
    assert await scene.reconciler._named(["another"]) == set()


async def test_other_decisions_tell_nothing_of_cvs(scene: Scene) -> None:
    await scene.given(SUBMITTED)
    scene.around.position = 1_000
    await scene.decided(StreamRetried(read_model=SUBMISSIONS, stream=SUBMITTED.id.hex, position=1))
    await scene.decided(skipped_at(1, "updates"))
    assert await scene.reconciler._named([CV.id]) == set()


def skipped_at(position: int, read_model: str = SUBMISSIONS) -> EventSkipped:
    return EventSkipped(read_model=read_model, stream=SUBMITTED.id.hex, position=position, reason="poison")
