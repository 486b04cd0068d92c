"""The ledger sees each kind of damage: facts that are well, and the same ones doctored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain.event import RecordedEvent
from tests.builders import ApplicationStory, a_job, some_applications
from tests.chaos.facts import Asked, Facts, Outage, Told, Wish
from tests.chaos.histories import histories
from tests.chaos.ledger import Damage, findings
from tests.streams import Event

FIRST, SECOND, THIRD = (replace(story, events=()) for story in some_applications(3))


def job(tag: str) -> Any:
    return a_job(company_name=tag)


TAKEN = FIRST.submitted([job("one")]).started().attempted().applied().succeeded()
REFUSED = SECOND.submitted([job("two")]).started().attempted_blind().refused().failed()
CANCELLED = THIRD.submitted([job("three")]).cancelled()


def log_of(*stories: ApplicationStory) -> list[RecordedEvent]:
    log: list[RecordedEvent] = []
    for story in stories:
        log += story.recorded(len(log) + 1)
    return log


def told(status: int, **more: Any) -> Told:
    return Told("api", status, 10.0, 11.0, **more)


def a_submission(story: ApplicationStory, tag: str, position: int, **more: Any) -> Asked:
    body = {"application_id": story.id.hex}
    return Asked(Wish.SUBMIT, "ada", (tag,), told=[told(200, body=body, position=position)], **more)


def entry(story: ApplicationStory, *, taken: int = 1, deliveries: int = 1, keys: Sequence[str] = ("1",)) -> Any:
    names = [f"{story.id.hex}-{key}" for key in keys]
    return {story.id.hex: {"taken": taken, "deliveries": deliveries, "idempotency_keys": names}}


def facts_of(*stories: ApplicationStory, **more: Any) -> Facts:
    """As everybody would tell them if all was well with this log."""
    log = log_of(*stories)
    known = histories(log)
    jobs = [job for history in known.values() for job in history.jobs()]
    changes = sorted((int(at), id, status) for id, one in known.items() for at, status in one.changes)
    facts = Facts(
        log=log,
        received={one.entry_id: _as_attempted(one) for one in jobs if one.attempts},
        statuses={id: one.status for id, one in known.items()},
        applied=frozenset(one.entry_id for one in jobs if one.listed == "applied"),
        failed=frozenset(one.entry_id for one in jobs if one.listed == "failed"),
        live={"status.1.1": {"a": b"1"}},
        rebuilt={"status.1.1": {"a": b"1"}},
        heard={"ada": [_update(at, id, status) for at, id, status in changes]},
    )
    return replace(facts, **more)


def _as_attempted(one: Any) -> Any:
    keys = sorted({f"{one.entry_id}-{attempt.round}" for attempt in one.attempts})
    return {"taken": int(one.applied), "deliveries": len(one.attempts), "idempotency_keys": keys}


def _update(at: int, id: str, status: str) -> Event:
    return Event("status_update", {"application_id": id, "status": status}, str(at))


WELL = facts_of(TAKEN, REFUSED, CANCELLED, asked=[a_submission(TAKEN, "one", 1), a_submission(REFUSED, "two", 7)])


def damages(facts: Facts) -> set[Damage]:
    return {finding.damage for finding in findings(facts)}


def test_what_is_well_is_not_complained_of() -> None:
    assert findings(WELL) == []


# -- lost -------------------------------------------------------------------------------------------------------------


def test_a_submission_that_was_answered_and_is_not_in_the_log() -> None:
    lost = a_submission(FIRST.submitted(), "never", 3)
    assert damages(replace(WELL, asked=[lost])) == {Damage.LOST}


def test_an_answer_with_a_position_beyond_the_log() -> None:
    assert damages(replace(WELL, asked=[a_submission(TAKEN, "one", 99)])) == {Damage.LOST}


def test_an_item_of_a_batch_that_is_missing() -> None:
    ids = [{"application_id": TAKEN.id.hex}, {"application_id": "0" * 32}]
    batch = Asked(Wish.BATCH, "ada", ("one", "none"), told=[told(200, body={"results": ids}, position=1)])
    [finding] = findings(replace(WELL, asked=[batch]))
    assert (finding.damage, "none" in finding.what) == (Damage.LOST, True)


@pytest.mark.parametrize("wish", [Wish.RETRY, Wish.CANCEL])
def test_a_change_that_was_answered_and_did_not_happen(wish: Wish) -> None:
    asked = Asked(wish, "ada", application_id=TAKEN.id.hex, told=[told(200, body={}, position=1)])
    assert damages(replace(WELL, asked=[asked])) == {Damage.LOST}


def test_a_job_that_is_applied_and_never_reached_its_portal() -> None:
    assert damages(facts_of(TAKEN, received={})) == {Damage.LOST}


def test_a_job_that_the_portal_got_from_nobody() -> None:
    assert damages(facts_of(TAKEN, received=entry(TAKEN) | entry(THIRD))) == {Damage.LOST}


def test_an_event_that_vanished_from_its_stream() -> None:
    log = log_of(TAKEN)
    del log[2]
    assert Damage.LOST in damages(replace(facts_of(TAKEN), log=log))


# -- duplicated -------------------------------------------------------------------------------------------------------


def test_two_applications_of_one_key() -> None:
    again = SECOND.submitted([job("one")]).cancelled()
    facts = facts_of(TAKEN, again, asked=[a_submission(TAKEN, "one", 1, key="k")])
    assert damages(facts) == {Damage.DUPLICATED}


def test_two_answers_of_one_key() -> None:
    asked = a_submission(TAKEN, "one", 1, key="k")
    asked.told.append(told(200, body={"application_id": "other"}, position=1))
    assert Damage.DUPLICATED in damages(replace(WELL, asked=[asked]))


def test_a_key_that_its_portal_took_twice() -> None:
    assert damages(facts_of(TAKEN, received=entry(TAKEN, taken=2))) == {Damage.DUPLICATED}


def test_a_call_without_an_attempt_in_the_log() -> None:
    assert damages(facts_of(TAKEN, received=entry(TAKEN, deliveries=2))) == {Damage.DUPLICATED}


def test_a_key_that_no_attempt_had() -> None:
    assert damages(facts_of(TAKEN, received=entry(TAKEN, keys=("1", "2")))) == {Damage.DUPLICATED}


def test_an_attempt_at_a_portal_without_keys_whose_predecessor_has_no_end() -> None:
    story = FIRST.submitted([job("one")]).started().attempted_blind().started().attempted_blind()
    facts = facts_of(story.applied().succeeded())
    assert damages(facts) == {Damage.DUPLICATED}


def test_what_a_portal_without_keys_was_sent_again_by_a_person_is_meant() -> None:
    story = FIRST.submitted([job("one")]).started().attempted_blind().lost().failed().retried()
    story = story.started().attempted_blind().applied().succeeded()
    assert findings(facts_of(story, received=entry(story, taken=2, deliveries=2))) == []
    assert damages(facts_of(story, received=entry(story, taken=3, deliveries=2))) == {Damage.DUPLICATED}


def test_a_job_sent_again_after_it_was_applied() -> None:
    story = FIRST.submitted([job("one")]).started().attempted().applied().attempted().succeeded()
    assert damages(facts_of(story)) == {Damage.DUPLICATED}


def test_a_job_sent_after_its_application_was_cancelled() -> None:
    story = CANCELLED.attempted()
    assert damages(facts_of(story)) == {Damage.DUPLICATED}


# -- stuck, and those who tell otherwise ------------------------------------------------------------------------------


def test_an_application_that_has_not_ended() -> None:
    assert damages(facts_of(FIRST.submitted([job("one")]).started())) == {Damage.STUCK}


def test_a_status_that_its_user_sees_otherwise() -> None:
    assert damages(replace(WELL, statuses={**WELL.statuses, TAKEN.id.hex: "pending"})) == {Damage.UNEQUAL}


def test_entries_that_are_missing_or_should_not_be_there() -> None:
    assert damages(replace(WELL, applied=frozenset())) == {Damage.UNEQUAL}
    assert damages(replace(WELL, failed=WELL.failed | {TAKEN.id.hex})) == {Damage.UNEQUAL}


@pytest.mark.parametrize("rebuilt", [{}, {"a": b"2"}, {"a": b"1", "b": b"3"}])
def test_a_rebuilt_read_model_that_differs(rebuilt: dict[str, bytes]) -> None:
    assert damages(replace(WELL, rebuilt={"status.1.1": rebuilt})) == {Damage.UNEQUAL}


def test_positions_that_do_not_rise() -> None:
    log = log_of(TAKEN)
    assert Damage.UNEQUAL in damages(replace(WELL, log=[replace(log[0], position=9), *log[1:]]))


# -- streams ----------------------------------------------------------------------------------------------------------


def test_updates_that_are_missing_twice_or_out_of_order() -> None:
    heard = list(WELL.heard["ada"])
    for wrong in (heard[1:], [heard[0], *heard], [heard[1], heard[0], *heard[2:]]):
        assert damages(replace(WELL, heard={"ada": wrong})) == {Damage.STREAM}


def test_an_update_that_never_was() -> None:
    heard = [*WELL.heard["ada"], _update(99, TAKEN.id.hex, "failed")]
    assert damages(replace(WELL, heard={"ada": heard})) == {Damage.STREAM}


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        told(500, code="ERR_1000"),
        told(404, code="ERR_2001"),
        told(503, code="ERR_5002"),
        told(429, code="ERR_7001"),
        told(409, code="ERR_9001", retry_after="1"),
        told(409, code="ERR_2002"),
        told(0),
    ],
    ids=lambda one: f"{one.status} {one.code}",
)
def test_an_answer_that_is_not_honest(answer: Told) -> None:
    assert damages(replace(WELL, asked=[Asked(Wish.SUBMIT, "ada", ("x",), told=[answer])])) == {Damage.DISHONEST}


def test_honest_refusals() -> None:
    answers = [told(503, code="ERR_5002", retry_after="5"), told(429, code="ERR_7001", retry_after="9")]
    retry = Asked(Wish.RETRY, "ada", key="k", application_id=TAKEN.id.hex)
    retry.told = [*answers, told(409, code="ERR_2002"), told(409, code="ERR_9001", retry_after="1")]
    assert findings(replace(WELL, asked=[retry])) == []


def test_silence_is_honest_while_the_process_could_not_answer() -> None:
    asked = [Asked(Wish.SUBMIT, "ada", ("x",), told=[told(0)])]
    assert findings(replace(WELL, asked=asked, outages=[Outage("api", 10.5, 12.0)])) == []
    assert damages(replace(WELL, asked=asked, outages=[Outage("api-2", 10.5, 12.0)])) == {Damage.DISHONEST}
    assert damages(replace(WELL, asked=asked, outages=[Outage("api", 20.0, 22.0)])) == {Damage.DISHONEST}


def test_a_process_that_ended_by_itself() -> None:
    assert damages(replace(WELL, fell=["worker ended by itself with 1"])) == {Damage.FELL}
