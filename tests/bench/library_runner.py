"""The event-sourcing library's own ProjectionRunner over the same read models, to be measured beside ours.

It reads one event after the other from PostgreSQL (SQLite cannot be subscribed to) and commits its documents with the
library's tracking position, as that library's users would write it: in one transaction for each event.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from pymongo import MongoClient, ReplaceOne

from domain.event import RecordedEvent
from infra.mapper import EventMapper
from projections.fold import Batch
from projections.read_models import READ_MODELS
from projections.view import BuildName, Lease

MAPPER = EventMapper()


class OurMapper(Mapper[Any]):
    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        return MAPPER.to_recorded_event(stored_event, getattr(stored_event, "id", 0))


class Log(Application[Any]):
    name = "stored"  # the table is stored_events


class Documents(POPOTrackingRecorder):
    """The read models in MongoDB."""

    database: ClassVar[Any] = None
    client: ClassVar[Any] = None

    def project(self, recorded: RecordedEvent, tracking: Tracking) -> None:
        with self.client.start_session() as session, session.start_transaction():
            for model in READ_MODELS:
                build = BuildName(model.NAME, model.VERSION, 1)
                batch = Batch.of(model, Lease(build, 1, tracking.notification_id - 1), [recorded], {})
                if not batch.ids:
                    continue
                collection = self.database[str(build)]
                found = {
                    one["_id"]: one
                    for one in collection.find({"_id": {"$in": list(batch.known_before)}}, session=session)
                }
                advance = batch.fold(found)
                written = [*advance.inserted, *advance.replaced]
                if written:
                    operations = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in written]
                    collection.bulk_write(operations, session=session)
                if advance.removed:
                    collection.delete_many({"_id": {"$in": list(advance.removed)}}, session=session)
            position = {"$set": {"position": tracking.notification_id}}
            self.database["tracking"].update_one({"_id": 1}, position, upsert=True, session=session)
        self.insert_tracking(tracking)


class ReadModels(Projection[Documents]):
    name = "readmodels"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.project(domain_event, tracking)


def events_a_second(postgresql: str, mongodb: str, database: str, head: int) -> float:
    """Blocks until it has come to the head."""
    with MongoClient[dict[str, Any]](mongodb, tz_aware=True) as client:
        Documents.client, Documents.database = client, client[database]
        for model in READ_MODELS:
            Documents.database[f"{model.NAME}.{model.VERSION}.1"].create_indexes(list(model.INDEXES))
        began = time.perf_counter()
        with ProjectionRunner(
            application_class=Log, projection_class=ReadModels, view_class=Documents, env=_environment(postgresql)
        ) as runner:
            runner.wait(head, timeout=120)
        seconds = time.perf_counter() - began
        client.drop_database(database)
    return head / seconds


def _environment(postgresql: str) -> Mapping[str, str]:
    url = urlsplit(postgresql)
    return {
        "STORED_PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.path.lstrip("/"),
        "POSTGRES_HOST": url.hostname or "",
        "POSTGRES_PORT": str(url.port),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "",
        "STORED_MAPPER_TOPIC": get_topic(OurMapper),
    }
