"""The ledger: joins what is known after a round, and tells what was lost, doubled, stuck, untrue or badly answered.

It asks no code of the service: each promise (design 2) is held against the log's events, and the log against everybody
else. An empty answer means that nothing was found, so `tests/chaos/test_ledger.py` feeds it each kind of damage.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from domain.application_events import ApplicationCancelled, JobApplied, JobAttempted
from tests.chaos.facts import NO_ANSWER, Asked, Facts, Outage, Told, Wish
from tests.chaos.histories import ENDED, History, JobHistory, histories

SLACK_SECONDS = 5.0  # around an outage: a process that was just started is busy
HONEST_409 = {"ERR_2002", "ERR_2003"}  # the status forbids it


class Damage(StrEnum):
    LOST = "lost"
    DUPLICATED = "duplicated"
    STUCK = "stuck"
    UNEQUAL = "unequal"  # who should tell the same does not
    STREAM = "stream"  # an update is missing, twice, or out of order
    DISHONEST = "dishonest"  # an answer that is neither 2xx nor an honest refusal
    FELL = "fell"  # a process ended, or failed in a way that it did not expect


@dataclass(frozen=True, slots=True)
class Finding:
    damage: Damage
    what: str

    def __str__(self) -> str:
        return f"{self.damage}: {self.what}"


def findings(facts: Facts) -> list[Finding]:
    """All that is wrong; nothing is left out because something else was found."""
    told = histories(facts.log)
    checks: tuple[Iterable[Finding], ...] = (
        _promised(facts, told),
        _made_once(facts, told),
        *(_of_application(facts, history) for history in told.values()),
        *(_of_job(facts, job) for history in told.values() for job in history.jobs()),
        _portal_knows_no_others(facts, told),
        _log_is_whole(facts),
        _lists(facts, told),
        _read_models(facts),
        *(_stream(facts, user, told) for user in facts.heard),
        *(_answers(facts, asked) for asked in facts.asked),
        (Finding(Damage.FELL, what) for what in facts.fell),
    )
    return [finding for check in checks for finding in check]


# -- what clients were promised ---------------------------------------------------------------------------------------


def _promised(facts: Facts, told: Mapping[str, History]) -> Iterator[Finding]:
    """Promise 1: what got its 2xx is in the log, at the position that was told."""
    at = {one.position: one for one in facts.log}
    for asked in facts.asked:
        done = asked.done
        if done is None or asked.wish is Wish.READ:
            continue
        if done.position not in at:
            yield Finding(Damage.LOST, f"{asked.wish} was answered at position {done.position}, which the log lacks")
        for tag, id in _made(asked, done):
            history = told.get(id)
            if history is None or tag not in history.tags:
                yield Finding(Damage.LOST, f"{asked.wish} {tag} was answered as {id}, which the log lacks")
        if asked.wish in {Wish.RETRY, Wish.CANCEL}:
            name = f"application.{'retry_requested' if asked.wish is Wish.RETRY else 'cancelled'}"
            history = told.get(asked.application_id or "")
            if history is None or name not in {one.event.NAME for one in history.recorded}:
                yield Finding(Damage.LOST, f"{asked.wish} of {asked.application_id} was answered, the log has none")


def _made(asked: Asked, told: Told) -> list[tuple[str, str]]:
    """Tag and id of each application that an answer names."""
    if asked.wish is Wish.SUBMIT:
        return [(asked.tags[0], told.body["application_id"])]
    if asked.wish is Wish.BATCH:
        ids = [item["application_id"] for item in told.body["results"]]
        return list(zip(asked.tags, ids, strict=True))
    return []


def _made_once(facts: Facts, told: Mapping[str, History]) -> Iterator[Finding]:
    """Promise 2: one wish makes its applications once, and each answer of one key is the same."""
    counts = Counter(tag for history in told.values() for tag in history.tags)
    for asked in facts.asked:
        yield from (
            Finding(Damage.DUPLICATED, f"{asked.wish} {tag} with key {asked.key} made {counts[tag]} applications")
            for tag in asked.tags
            if counts[tag] > 1
        )
        answers = {repr(one.body) for one in asked.told if one.done}
        if asked.key is not None and len(answers) > 1:
            yield Finding(Damage.DUPLICATED, f"key {asked.key} got {len(answers)} different answers")


# -- what became of it ------------------------------------------------------------------------------------------------


def _of_application(facts: Facts, history: History) -> Iterator[Finding]:
    if history.status not in ENDED:
        yield Finding(Damage.STUCK, f"{history.id} is {history.status}: {_last(history)}")
    cancelled = False
    for one in history.recorded:
        cancelled = cancelled or isinstance(one.event, ApplicationCancelled)
        if cancelled and isinstance(one.event, JobAttempted):
            yield Finding(Damage.DUPLICATED, f"{history.id} was sent after it was cancelled")
    if facts.statuses.get(history.id) != history.status:
        seen = facts.statuses.get(history.id)
        yield Finding(Damage.UNEQUAL, f"{history.id} is {history.status} in the log, {seen} for its user")


def _last(history: History) -> str:
    return ", ".join(one.event.NAME.partition(".")[2] for one in history.recorded[-6:])


def _of_job(facts: Facts, job: JobHistory) -> Iterator[Finding]:
    """Promise 3: handed over once for each intended attempt, and what is applied the portal has."""
    entry = facts.received.get(job.entry_id, {"taken": 0, "deliveries": 0, "idempotency_keys": []})
    attempts = job.attempts
    if job.applied and entry["taken"] == 0:
        yield Finding(Damage.LOST, f"{job.entry_id} is applied, and the portal never got it")
    if entry["taken"] > 1 + job.reopened_unknown:
        yield Finding(Damage.DUPLICATED, f"{job.entry_id} was taken {entry['taken']} times by its portal")
    if entry["deliveries"] > len(attempts):
        what = f"{job.entry_id} was sent {entry['deliveries']} times, in {len(attempts)} attempts"
        yield Finding(Damage.DUPLICATED, what)
    rounds = {f"{job.entry_id}-{attempt.round}" for attempt in attempts}
    if not set(entry["idempotency_keys"]) <= rounds:
        yield Finding(Damage.DUPLICATED, f"{job.entry_id} was sent under keys of no attempt")
    if job.attempts_on_an_unknown_outcome:
        yield Finding(Damage.DUPLICATED, f"{job.entry_id} was sent again while the outcome of an attempt was unknown")
    applied = False
    for one in job.recorded:
        if isinstance(one.event, JobAttempted) and one.event.position == job.place and applied:
            yield Finding(Damage.DUPLICATED, f"{job.entry_id} was sent again after it was applied")
        applied = applied or (isinstance(one.event, JobApplied) and one.event.position == job.place)


def _portal_knows_no_others(facts: Facts, told: Mapping[str, History]) -> Iterator[Finding]:
    ours = {job.entry_id for history in told.values() for job in history.jobs()}
    for unknown in facts.received.keys() - ours:
        yield Finding(Damage.LOST, f"the portal got {unknown}, which the log lacks")


# -- who tells of it --------------------------------------------------------------------------------------------------


def _log_is_whole(facts: Facts) -> Iterator[Finding]:
    """Positions rise, and each stream counts its versions without a gap."""
    if any(one.position >= other.position for one, other in pairwise(facts.log)):
        yield Finding(Damage.UNEQUAL, "the log's positions do not rise")
    next_version: Counter[object] = Counter()
    for one in facts.log:
        next_version[one.stream_id] += 1
        if one.version != next_version[one.stream_id]:
            yield Finding(Damage.LOST, f"stream {one.stream_id.hex} goes on with version {one.version}")


def _lists(facts: Facts, told: Mapping[str, History]) -> Iterator[Finding]:
    jobs = [job for history in told.values() for job in history.jobs()]
    for name, listed in (("applied", facts.applied), ("failed", facts.failed)):
        due = {job.entry_id for job in jobs if job.listed == name}
        yield from (Finding(Damage.UNEQUAL, f"{id} is missing in the list {name}") for id in sorted(due - listed))
        yield from (Finding(Damage.UNEQUAL, f"{id} should not be in the list {name}") for id in sorted(listed - due))


def _read_models(facts: Facts) -> Iterator[Finding]:
    """Promise 5: live ones equal rebuilt ones, byte for byte."""
    for build in sorted(facts.live.keys() | facts.rebuilt.keys()):
        live, rebuilt = facts.live.get(build, {}), facts.rebuilt.get(build, {})
        for id in live.keys() | rebuilt.keys():
            if live.get(id) != rebuilt.get(id):
                where = "rebuilt only" if id not in live else "live only" if id not in rebuilt else "with other content"
                yield Finding(Damage.UNEQUAL, f"{build} has {id} {where}")


def _stream(facts: Facts, user: str, told: Mapping[str, History]) -> Iterator[Finding]:
    """All updates of the user's applications, each once, in the order of the log, whatever was cut off meanwhile."""
    heard = facts.heard[user]
    places = [_place(event.id) for event in heard]
    if any(one >= other for one, other in pairwise(places)):
        yield Finding(Damage.STREAM, f"{user} heard updates twice or out of order")
    updates = {
        (str(event.id), event.data["application_id"], event.data["status"])
        for event in heard
        if event.name == "status_update"
    }
    due = {
        (position, history.id, status)
        for history in told.values()
        if history.user == user
        for position, status in history.changes
    }
    yield from (Finding(Damage.STREAM, f"{user} did not hear {update}") for update in sorted(due - updates))
    yield from (Finding(Damage.STREAM, f"{user} heard {update}, which never was") for update in sorted(updates - due))


def _place(id: str | None) -> tuple[int, ...]:
    return tuple(map(int, str(id).split(".")))


# -- how it was answered ----------------------------------------------------------------------------------------------


def _answers(facts: Facts, asked: Asked) -> Iterator[Finding]:
    for told in asked.told:
        if told.status == NO_ANSWER:
            if not any(_explains(outage, told) for outage in facts.outages):
                seconds = told.ended - told.began
                what = f"{told.api} gave no answer to {asked.wish} within {seconds:.1f} s, though it was well"
                yield Finding(Damage.DISHONEST, what)
        elif not _is_honest(asked, told):
            what = f"{told.api} answered {asked.wish} {asked.application_id or ''} with {told.status} {told.code}"
            yield Finding(Damage.DISHONEST, what)


def _explains(outage: Outage, told: Told) -> bool:
    return outage.victim == told.api and outage.began <= told.ended and told.began <= outage.ended + SLACK_SECONDS


def _is_honest(asked: Asked, told: Told) -> bool:
    """2xx; 429 or 503 that say when to come again; 409 where the status forbids it, or a twin is being answered."""
    if told.done:
        return True
    if told.status in {429, 503}:
        return told.retry_after is not None
    if told.status == 409 and told.code == "ERR_9001":
        return asked.key is not None and told.retry_after is not None
    return told.status == 409 and told.code in HONEST_409 and asked.wish in {Wish.RETRY, Wish.CANCEL}
