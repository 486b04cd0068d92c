"""Random lives of applications, as users, workers and portals may bring them about: a seed gives the same again."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

from domain.application import Application, Unfinished, refused, unknown_outcome
from domain.application_events import Delivery
from domain.errors import ApplicationAlreadyProcessed, ApplicationState, AttemptRefused
from domain.event import Event
from domain.retry import RetryPolicy
from tests.builders import START, ApplicationStory, a_job, documents_of

POLICY = RetryPolicy(max_retries=2)
JOBS_MAX, STEPS_MAX = 3, 20
CLOSED, SILENT = refused("Position closed", "PortalRefusedError"), unknown_outcome("no answer", "TimeoutError")

Step = Callable[[random.Random, Application], Sequence[Event]]


def a_life(draw: random.Random, begun: ApplicationStory) -> ApplicationStory:
    """Of one that was begun; it may end anywhere. What the rules refuse has not happened."""
    jobs = [a_job(f"Baker {number}", portal=draw.choice(["Xing", None])) for number in range(draw.randint(1, JOBS_MAX))]
    story = begun.submitted(jobs=jobs)
    for _ in range(draw.randint(0, STEPS_MAX)):
        step = draw.choices([one for one, _ in STEPS], [weight for _, weight in STEPS])[0]
        try:
            story = story.then(*step(draw, story.application))
        except (ApplicationState, ApplicationAlreadyProcessed, AttemptRefused):
            continue
    return story


def _attempt(draw: random.Random, application: Application) -> Sequence[Event]:
    position, delivery = _job(draw, application), draw.choice(list(Delivery))
    documents = documents_of(position, draw.randint(1, 9))
    return application.begin_attempt(position, application.starts, "portal", delivery, documents)


def _applied(draw: random.Random, application: Application) -> Sequence[Event]:
    return application.record_applied(_job(draw, application), "SBX-1")


def _failed(draw: random.Random, application: Application) -> Sequence[Event]:
    verdict = draw.choice([CLOSED, SILENT])
    return application.record_failed(_job(draw, application), application.starts, verdict)


def _pause(draw: random.Random, application: Application) -> Sequence[Event]:
    unfinished = [Unfinished(position, "503", "PortalBusyError") for position, _ in application.open_jobs]
    return application.pause(application.starts, unfinished, START + timedelta(hours=1), POLICY)


def _job(draw: random.Random, application: Application) -> int:
    return draw.randint(1, len(application.jobs))


STEPS: Sequence[tuple[Step, int]] = [
    (lambda _, application: application.start(POLICY), 3),
    (_attempt, 4),
    (_applied, 5),
    (_failed, 3),
    (_pause, 1),
    (lambda _, application: application.retry(), 2),
    (lambda _, application: application.cancel(), 1),
    (lambda _, application: application.requeue("stuck"), 1),
]
