"""What must be true after every step, and at the end: the promises of design 2 and the rules of design 5 to 7.

The watch reads what the fakes hold, not what the service says of itself. Each check names what it would mean for users.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import orjson
from eventsourcing.persistence import StoredEvent

from consumers.portals import Delivery, Submission
from domain.application import Application
from domain.application_events import (
    ApplicationSubmitted,
    Failure,
    JobApplied,
    JobAttempted,
    JobFailed,
    RetryRequested,
)
from domain.event import RecordedEvent
from infra.mapper import EventMapper
from infra.messages import Message, QueueKind, QueueNames, messages_of
from projections.read_model import Document, ReadModel
from projections.view import BuildName
from tests.simulation.broker import Broker
from tests.simulation.log import COLUMNS, LogServer
from tests.simulation.portal import PortalService
from tests.simulation.users import Answered
from tests.simulation.view import Build, ViewServer

CHECKPOINTS = "relay_checkpoints"


class Violation(AssertionError):
    """A promise is broken."""


@dataclass(slots=True)
class Watch:
    """Holds the world against the promises. `log` is all that was ever committed, in the order of its positions."""

    server: LogServer
    broker: Broker
    view: ViewServer
    portals: Sequence[PortalService]
    names: QueueNames
    answered: Answered
    log: list[RecordedEvent] = field(default_factory=list)
    streams: dict[UUID, list[RecordedEvent]] = field(default_factory=lambda: defaultdict(list))
    applications: dict[UUID, Application] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    _mapper: EventMapper = field(default_factory=EventMapper)
    _receipts: Counter[str] = field(default_factory=Counter)
    _published: dict[QueueKind, int] = field(default_factory=lambda: dict.fromkeys(QueueKind, 0))
    _due: dict[str, QueueKind] = field(default_factory=dict)
    _positions: dict[BuildName, tuple[Build, int]] = field(default_factory=dict)

    def demand(self, holds: bool, promise: str) -> None:
        if not holds:
            self.violations.append(f"at {self.server.loop.time():.3f} s: {promise}")

    # -- after each commit of the log's database ----------------------------------------------------------------------

    def committed(self, statements: Sequence[str]) -> None:
        if any("stored_events" in sql for sql in statements):
            self._read_on()
        if any("due_messages" in sql for sql in statements):
            self._look_at_due()
        if any(CHECKPOINTS in sql and not sql.startswith("CREATE") for sql in statements):
            self._look_at_checkpoints()

    def _read_on(self) -> None:
        last = self.log[-1].position if self.log else 0
        for position, stream, version, topic, state in self.server.rows(
            f"{COLUMNS} WHERE position > ? ORDER BY position", (last,)
        ):
            stored = StoredEvent(UUID(stream), version, topic, state)
            self._append(self._mapper.to_recorded_event(stored, position))
        [[stored_events]] = self.server.rows("SELECT COUNT(*) FROM stored_events")
        self.demand(stored_events == len(self.log), f"something was committed before {last}: who follows skips it")

    def _append(self, recorded: RecordedEvent) -> None:
        stream = self.streams[recorded.stream_id]
        self.demand(recorded.version == len(stream) + 1, f"{recorded.stream_id} has a gap at {recorded.version}")
        self.log.append(recorded)
        stream.append(recorded)
        if recorded.event.NAME.startswith("application."):
            id = recorded.stream_id
            self.applications[id] = self.applications.get(id, Application(id)).after(recorded.event)
        if isinstance(recorded.event, JobApplied):
            applied = [one for one in stream if isinstance(one.event, JobApplied)]
            mine = [one for one in applied if cast(JobApplied, one.event).position == recorded.event.position]
            self.demand(len(mine) == 1, f"job {recorded.event.position} of {recorded.stream_id} is applied twice")

    def _look_at_due(self) -> None:
        """What was kept until it is due leaves only when it has been published."""
        there = {key: QueueKind(queue) for key, queue in self.server.rows("SELECT key, queue FROM due_messages")}
        for key, kind in self._due.items():
            if key not in there:
                self.demand(self._accepted(kind, key), f"the due message {key} was dropped and not published")
        self._due = there

    def _look_at_checkpoints(self) -> None:
        """A queue's checkpoint passes only what the broker has, or what waits until it is due."""
        for queue, position in self.server.rows(f"SELECT queue, position FROM {CHECKPOINTS}"):
            kind = QueueKind(queue)
            before = self._published[kind]
            self.demand(position >= before, f"the checkpoint of {kind} went back from {before} to {position}")
            for recorded in self._between(before, position):
                for message in messages_of(recorded, self.names):
                    if message.queue is kind:
                        there = self._accepted(kind, message.message_id) or message.message_id in self._due
                        self.demand(there, f"the checkpoint {position} of {kind} passed {message.message_id}")
            self._published[kind] = position

    def _between(self, after: int, until: int) -> Iterable[RecordedEvent]:
        return (one for one in self.log if after < one.position <= until)

    def _accepted(self, kind: QueueKind, message_id: str) -> bool:
        return message_id in self.broker.accepted.get(self.names.of(kind), {})

    # -- after each other step ----------------------------------------------------------------------------------------

    def acknowledged(self, queue: str, message: Message) -> None:
        """All that follows from a message is in the log before it is acknowledged."""
        if queue != self.names.processing:
            return
        work = orjson.loads(message.body)
        application = self.applications[UUID(work["application_id"])]
        followed = application.ended or application.queued_version > work["version"]
        self.demand(followed, f"{message.message_id} was acknowledged before anything followed from it")

    def received(self, portal: PortalService, submission: Submission) -> None:
        """Called before the portal decides."""
        entry = submission.entry_id
        id = UUID(submission.application_id)
        position = _position_of(submission, self.applications[id])
        stream = [one.event for one in self.streams[id]]
        attempts = [event for event in stream if isinstance(event, JobAttempted) and event.position == position]
        self._receipts[entry] += 1
        self.demand(
            self._receipts[entry] <= len(attempts), f"{entry} was sent {self._receipts[entry]} times, "
            f"and {len(attempts)} attempts are in the log"
        )  # fmt: skip
        keys = {submission.idempotency_key, *portal.taken.get(entry, ())}
        if portal.delivery is Delivery.AT_LEAST_ONCE:
            self.demand(len(keys) == 1, f"{portal.name} has {entry} and is sent it under another key")
        else:
            reopened = sum(
                any(job.position == position for job in event.reopened)
                for event in stream
                if isinstance(event, RetryRequested)
            )
            times = len(portal.taken.get(entry, ()))
            self.demand(times <= reopened, f"{portal.name} takes no keys, has {entry}, and is sent it again")

    def view_committed(self, build: BuildName) -> None:
        content = self.view.builds[build]
        assert content is not None, "something was committed"
        same, position = self._positions.get(build, (content, 0))  # one that was dropped begins anew
        grew = content is not same or content.position >= position
        self.demand(grew, f"{build} went back from {position} to {content.position}")
        self._positions[build] = content, content.position

    # -- at the end ---------------------------------------------------------------------------------------------------

    def at_rest(self) -> str | None:
        """What is not yet done, if something is."""
        for id, application in self.applications.items():
            if not application.ended:
                return f"application {id} has not ended: {application.status}"
        head = self.server.head
        for model in self.view.models:
            build = self.view.live_build(model.NAME)
            if build is None or build.position < head:
                return f"the read model {model.NAME} is behind"
        if any(position < head for position in self._published.values()):
            return "the relay is behind"
        if self._due:
            return "a message is due"
        return None

    def at_the_end(self) -> None:
        for id in self.answered.applications:
            self.demand(id in self.streams, f"the submission {id} was answered and is not in the log")
        self._keys()
        self._portals()
        self._messages()
        for model in self.view.models:
            self._read_model(model)

    def _keys(self) -> None:
        for key, answers in self.answered.by_key.items():
            self.demand(len(answers) == 1, f"the idempotency key {key} got the answers {sorted(answers)}")
        made: Counter[str] = Counter()
        for stream in self.streams.values():
            first = stream[0]
            if isinstance(first.event, ApplicationSubmitted) and first.metadata.cause.correlation_id:
                made[first.metadata.cause.correlation_id] += 1
        for key, times in made.items():
            self.demand(times == 1, f"the idempotency key {key} made {times} applications")

    def _portals(self) -> None:
        taken = {entry for portal in self.portals for entry, keys in portal.taken.items() if keys}
        for id, application in self.applications.items():
            for position, job in enumerate(application.jobs, 1):
                entry = application.entry_id(position)
                if job.applied:
                    self.demand(entry in taken, f"{entry} counts as applied, and no portal has it")
                elif job.failed and job.failed.failure is Failure.REFUSED:
                    self.demand(entry not in taken, f"{entry} counts as refused, and a portal has it")
            failures = [one.event for one in self.streams[id] if isinstance(one.event, JobFailed)]
            self.demand(len(failures) <= 20, f"{id} failed {len(failures)} times")

    def _messages(self) -> None:
        """Each fact reached its queue, and an application's facts first came in their order."""
        for recorded in self.log:
            for message in messages_of(recorded, self.names):
                there = self._accepted(message.queue, message.message_id)
                self.demand(there, f"{message.message_id} was never published")
        first_of: dict[str, int] = {}
        for message_id in self.broker.accepted.get(self.names.notifications, {}):
            stream, version, _ = message_id.split("-")
            self.demand(int(version) > first_of.get(stream, 0), f"{message_id} came after a later one")
            first_of[stream] = max(int(version), first_of.get(stream, 0))

    def _read_model(self, model: ReadModel) -> None:
        build = self.view.live_build(model.NAME)
        if build is None:
            return
        expected: dict[str, Document] = {}
        for recorded in self.log:
            ids = list(model.touches(recorded))
            docs = {id: expected.pop(id) for id in ids if id in expected}
            model.apply(recorded, docs)
            expected.update(docs)
        found = build.documents
        for id in expected.keys() | found.keys():
            same = expected.get(id) == found.get(id)
            self.demand(same, f"{model.NAME} has {found.get(id)} where the log makes {expected.get(id)}")


def _position_of(submission: Submission, application: Application) -> int:
    for position in range(1, len(application.jobs) + 1):
        if application.entry_id(position) == submission.entry_id:
            return position
    return 0
