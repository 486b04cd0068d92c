"""Entries of a user by the hundred thousand, in the read models: the very documents that the projector would write.

Each is folded from its event by the read models themselves; only its way into the database is shorter.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import uuid4

from domain.application_events import Failure, JobApplied, JobFailed
from domain.event import Cause, Metadata, Owner, RecordedEvent
from domain.job import Job
from infra.mongo import Mongo
from projections import applied, failed, totals
from projections.read_model import Document, ReadModel
from tests.bench.projection import DOCUMENTS, a_job

AT_ONCE = 2_000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CAUSE = Cause("worker:bench", "bench")


async def seed(
    mongo: Mongo, user_id: str, *, applied_count: int = 0, failed_count: int = 0, job: Callable[[int], Job] = a_job
) -> None:
    """Into the first builds, which must be live. One entry an application, a second between two."""
    counters: dict[str, Document] = {}
    for model, count in ((applied, applied_count), (failed, failed_count)):
        events = entries(user_id, model, count, job)
        while some := list(islice(events, AT_ONCE)):
            docs: dict[str, Document] = {}
            for recorded in some:
                model.apply(recorded, docs)
                totals.apply(recorded, counters)
            await mongo.database[f"{model.NAME}.1.1"].insert_many(list(docs.values()), ordered=False)
    await mongo.database[f"{totals.NAME}.{totals.VERSION}.1"].insert_many(list(counters.values()))


def entries(user_id: str, model: ReadModel, count: int, job: Callable[[int], Job]) -> Iterator[RecordedEvent]:
    """The events that make an entry of a list, the oldest first."""
    for number in range(count):
        at = BEGAN + timedelta(seconds=number)
        metadata = Metadata(uuid4(), at + timedelta(milliseconds=700), CAUSE, Owner(user_id, 1, at))
        yield RecordedEvent(uuid4(), 5, _result(model, number, job(number)), metadata, 5 * number)


def _result(model: ReadModel, number: int, job: Job) -> JobApplied | JobFailed:
    if model is applied:
        return JobApplied(position=1, reference=f"SBX-{number}", was_failed=False, job=job, documents=DOCUMENTS)
    return JobFailed(
        position=1,
        failure=Failure.REFUSED,
        reason="The position is closed",
        error_type="PortalRefusedError",
        job=job,
        documents=DOCUMENTS,
    )
