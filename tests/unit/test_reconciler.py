"""When an application counts as stuck, and what the reconciler leaves alone (design 7)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast
from uuid import UUID

import pytest

from consumers.processing import claim_name
from consumers.reconciler import QUEUE_SHORT, Reconciler, is_stuck
from consumers.relay_gauges import Outbox, QueueDepths
from domain.application_events import Requeued
from domain.commands import ApplicationCommands
from domain.ports import Append, Claim
from domain.retry import RetryPolicy
from infra.clock import SystemClock
from infra.cv_store import CvStore
from infra.messages import QueueKind
from projections.queries import Answer, Queries
from tests.builders import START, ApplicationStory, an_application
from tests.fakes.event_log import FakeEventLog

SUBMITTED = an_application().submitted()
STARTED = SUBMITTED.started()
WAITING = STARTED.attempted().retry_scheduled(due_at=START + timedelta(seconds=60))
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
    """What the reconciler sees of the relay, the broker and the read model."""

    candidates: Sequence[str] = ()
    all_given: bool = True
    depth: int | None = 0
    asked: list[str] = field(default_factory=list)

    async def has_given_all_work(self) -> bool:
        return self.all_given

    async def of(self, kind: QueueKind) -> int | None:
        assert kind is QueueKind.PROCESSING
        return self.depth

    async def stuck(self, before: object, limit: int) -> Sequence[str]:
        self.asked.append("stuck")
        return self.candidates

    async def cv_is_named(self, cv_ids: Sequence[str]) -> Answer[set[str]]:
        return Answer(set(cv_ids[:1]), 3)


@dataclass
class Scene:
    log: FakeEventLog
    around: Surroundings
    reconciler: Reconciler

    async def requeued(self) -> list[UUID]:
        """The applications that were queued again, in the log's order."""
        return [one.stream_id for one in await self.log.read(0, 1000) if isinstance(one.event, Requeued)]

    async def given(self, *stories: ApplicationStory) -> None:
        for story in stories:
            await self.log.append(Append(story.recorded()))
        self.around.candidates = [story.id.hex for story in stories]


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
    await scene.log.claims.take(Claim(claim_name(STARTED.id), "w1", 60))
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


async def test_cvs_are_only_judged_by_a_read_model_that_knows_all_submissions(scene: Scene) -> None:
    await scene.given(*(another(SUBMITTED, n) for n in range(3)))
    assert await scene.reconciler._named(["a", "b"]) == {"a"}
    await scene.given(another(SUBMITTED, 9))
    assert await scene.reconciler._named(["a", "b"]) is None
