"""What each read model shows of an application's life."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

import domain
from domain.application_events import Status
from domain.event import Event, RecordedEvent
from domain.idempotency import KeyUsed
from domain.parked_decisions import EventSkipped, StreamRetried
from domain.rejected_message import MessageRejected
from projections import applied, failed, status, totals
from projections.entries import folded, order_beyond, order_from, order_of
from projections.read_model import Document, Documents, ReadModel, UnknownEvent
from projections.read_models import READ_MODELS
from tests.builders import (
    APPLICATION_ID,
    START,
    ApplicationStory,
    Story,
    a_batch,
    a_job,
    an_application,
    some_applications,
)

ID = APPLICATION_ID.hex
TWO_JOBS = an_application().submitted(jobs=2).started().attempted(1, 2)
FAILED = an_application().submitted().started().attempted(1).refused().failed()
KEY_USED = KeyUsed(content_hash="ab", status=200, body="{}")
REJECTED = MessageRejected(
    queue="q", message_id=None, application_id=None, reason="not JSON", error_type="X", raw="{", raw_base64=None
)
AT = {"read_model": "status", "stream": ID, "position": 3}
DECISIONS = (StreamRetried.model_validate(AT), EventSkipped.model_validate({**AT, "reason": "of no use"}))
LIVES: Sequence[Story] = [
    TWO_JOBS.applied(1).unknown(2).failed().applied(2).succeeded(),
    TWO_JOBS.refused(1).applied(2).failed().retried().started().attempted(1).applied(1).succeeded(),
    FAILED.retried().cancelled(),
    an_application().submitted().started().attempted(1).retry_scheduled().started().exhausted().failed(),
    an_application().submitted().requeued().started().given_back().requeued(),
    a_batch().cancelled(retries=0),
    Story(UUID(int=5), None, FAILED.cause, (KEY_USED,)),
    Story(UUID(int=6), None, FAILED.cause, (REJECTED,)),
    Story(UUID(int=7), None, FAILED.cause, DECISIONS),
]


def shown(model: ReadModel, *stories: Iterable[RecordedEvent] | Story) -> dict[str, Document]:
    """The documents after these events."""
    docs: dict[str, Document] = {}
    for story in stories:
        for recorded in story.recorded() if isinstance(story, Story) else story:
            model.apply(recorded, docs)
    return docs


def counts(*stories: Iterable[RecordedEvent] | Story) -> dict[str, int]:
    """But for the counters of each user's applications, which follow the others."""
    docs = shown(totals, *stories)
    return {key: doc["count"] for key, doc in docs.items() if doc.get("list") != totals.APPLICATIONS}


def at(second: int) -> datetime:
    """When the event of that version happened in a story."""
    return START + timedelta(seconds=second - 1)


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.NAME)
def test_every_event_is_handled_or_named_as_ignored(model: ReadModel) -> None:
    ours = {event.NAME for event in Event.BY_NAME.values() if event.__module__.startswith(f"{domain.__name__}.")}
    assert {event.NAME for story in LIVES for event in story} == ours, "a life lacks an event"
    for life in LIVES:
        shown(model, life)


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.NAME)
def test_an_event_without_an_arm_does_not_vanish(model: ReadModel) -> None:
    surprise = type("Surprise", (Event,), {}, name=f"test.surprise_of_{model.NAME}")
    with pytest.raises(UnknownEvent, match=f"{model.NAME} does not know test.surprise"):
        shown(model, replace(FAILED, events=(surprise(),)))


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.NAME)
def test_an_event_changes_only_the_documents_that_it_names(model: ReadModel) -> None:
    for life in LIVES:
        docs: dict[str, Document] = {}
        for recorded in life.recorded():
            before = {id: repr(doc) for id, doc in docs.items()}
            model.apply(recorded, docs)
            after = {id: repr(doc) for id, doc in docs.items()}
            changed = {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}
            assert changed <= set(model.touches(recorded))


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.NAME)
def test_an_event_needs_no_documents_but_those_that_it_names(model: ReadModel) -> None:
    for life in LIVES:
        docs: dict[str, Document] = {}
        for recorded in life.recorded():
            loaded: Documents = {id: docs.pop(id) for id in set(model.touches(recorded)) if id in docs}
            assert not [id for id in loaded if model.is_new(id, recorded)]
            model.apply(recorded, loaded)
            docs |= loaded
        assert docs == shown(model, life)


# -- status -----------------------------------------------------------------------------------------------------------


def test_a_submission_is_pending() -> None:
    assert shown(status, an_application().submitted(jobs=3))[ID] == {
        "_id": ID,
        "application_id": ID,
        "user_id": "ada",
        "status": "pending",
        "job_count": 3,
        "created_at": START,
        "updated_at": START,
        "processed_at": None,
        "error_reason": None,
        "cv_id": "ada-cv",
        "waiting_since": START,
        "order": order_of(START, APPLICATION_ID, 0),
        "results": [None, None, None],
    }


def test_the_names_of_its_jobs_are_kept_once() -> None:
    jobs = [
        a_job("Bäcker", id="1", description="Bake."),
        a_job("BÄCKER", company_name="CRUMB & CO"),
        a_job(portal=None),
    ]
    assert shown(status, an_application().submitted(jobs))[f"jobs:{ID}"] == {
        "_id": f"jobs:{ID}",
        "application_id": ID,
        "jobs_of": "ada",
        "order": order_of(START, APPLICATION_ID, 0),
        "jobs": [
            {"title": "Bäcker", "company_name": "Crumb & Co", "portal": "sandbox"},
            {"title": "BÄCKER", "company_name": "CRUMB & CO", "portal": "sandbox"},
            {"title": "Baker", "company_name": "Crumb & Co", "portal": None},
        ],
        "folded": [
            {"portal": "sandbox", "company": "crumb & co", "title": "bäcker"},
            {"portal": None, "company": "crumb & co", "title": "baker"},
        ],
    }


def test_of_many_jobs_all_can_be_found_and_the_first_are_shown() -> None:
    jobs = [a_job(f"Baker {n}") for n in range(1, 31)]
    docs = shown(status, an_application().submitted(jobs).started().applied(20).refused(21))
    assert [job["title"] for job in docs[f"jobs:{ID}"]["jobs"]] == [f"Baker {n}" for n in range(1, 21)]
    assert [job["title"] for job in docs[f"jobs:{ID}"]["folded"]] == [f"baker {n}" for n in range(1, 31)]
    assert docs[ID]["results"] == [None] * 19 + ["success"]


def test_what_changes_later_leaves_the_names_alone() -> None:
    later = TWO_JOBS.applied(1).refused(2).failed().retried().cancelled().recorded()[1:]
    assert {id for recorded in later for id in status.touches(recorded)} == {ID}


def test_each_job_has_a_result_of_its_own_until_a_retry_opens_it_again() -> None:
    failed_one = TWO_JOBS.applied(1).refused(2).failed()
    assert shown(status, failed_one)[ID]["results"] == ["success", "failed"]
    assert shown(status, failed_one.retried())[ID]["results"] == ["success", None]
    late = TWO_JOBS.unknown(1).applied(2).failed().applied(1).succeeded()
    assert shown(status, late)[ID]["results"] == ["success", "success"]


def test_a_success_tells_when_it_ended() -> None:
    story = an_application().submitted(cv=None).started().attempted(1).applied(1).succeeded()
    doc = shown(status, story)[ID]
    end = at(len(story.events))
    assert (doc["status"], doc["processed_at"], doc["updated_at"]) == ("success", end, end)
    assert (doc["error_reason"], doc["cv_id"], doc["waiting_since"]) == (None, None, None)


def test_a_failure_has_the_reason_of_its_first_failed_job() -> None:
    doc = shown(status, TWO_JOBS.refused(1, "Closed").refused(2, "Filled").failed())[ID]
    assert (doc["status"], doc["error_reason"]) == ("failed", "Closed")
    assert doc["processed_at"] == doc["updated_at"]


def test_a_retry_takes_back_end_and_reason() -> None:
    story = FAILED.retried()
    doc = shown(status, story)[ID]
    assert (doc["status"], doc["processed_at"], doc["error_reason"]) == ("pending", None, None)
    assert doc["updated_at"] == doc["waiting_since"] == at(len(story.events))


def test_a_cancelled_one_was_never_processed() -> None:
    doc = shown(status, an_application().submitted().cancelled())[ID]
    assert (doc["status"], doc["processed_at"], doc["error_reason"]) == ("cancelled", None, "Cancelled by user")
    assert doc["waiting_since"] is None


def test_a_late_applied_makes_a_failed_one_a_success() -> None:
    doc = shown(status, an_application().submitted().started().unknown().failed().applied(1).succeeded())[ID]
    assert (doc["status"], doc["error_reason"]) == ("success", None)


def test_automatic_retries_are_no_change_that_its_user_sees() -> None:
    story = an_application().submitted().started().attempted(1).retry_scheduled().started().attempted(1)
    doc = shown(status, story)[ID]
    assert (doc["status"], doc["updated_at"]) == ("processing", at(2))


def test_a_result_of_a_job_is_a_change_that_its_user_sees() -> None:
    for story in (TWO_JOBS.applied(1), TWO_JOBS.refused(2)):
        assert shown(status, story)[ID]["updated_at"] == at(len(story.events))


def test_whatever_happens_before_the_end_shows_that_it_moves() -> None:
    story = an_application().submitted(jobs=2)
    for longer in (story.started(), TWO_JOBS, TWO_JOBS.applied(1), TWO_JOBS.retry_scheduled(), story.requeued()):
        assert shown(status, longer)[ID]["waiting_since"] == at(len(longer.events))


def test_a_late_result_does_not_make_an_ended_one_wait() -> None:
    assert shown(status, TWO_JOBS.unknown(1).refused(2).failed().applied(1))[ID]["waiting_since"] is None


# -- the lists --------------------------------------------------------------------------------------------------------


def test_an_applied_job_is_an_entry_with_its_fields_and_documents() -> None:
    story = an_application().submitted([a_job(skills_required=("Rye", "Bread"))]).started().attempted(1).applied(1)
    entry = shown(applied, story)[ID]
    assert entry["app_id"] == entry["application_id"] == ID
    assert (entry["title"], entry["company_name"], entry["portal"]) == ("Baker", "Crumb & Co", "sandbox")
    assert (entry["skills_required"], entry["id"], entry["user_id"]) == (["Rye", "Bread"], None, "ada")
    assert (entry["status"], entry["error_reason"]) == ("success", None)
    assert (entry["created_at"], entry["applied_at"]) == (START, at(len(story.events)))
    assert entry["resume_optimized"] == {"round": 1, "for": 1}
    assert entry["cover_letter"] == {"text": "Letter 1 for 1"}
    assert (entry["portal_folded"], entry["company_folded"], entry["title_folded"]) == (
        "sandbox",
        "crumb & co",
        "baker",
    )


def test_a_failed_job_is_an_entry_with_its_reason() -> None:
    entry = shown(failed, FAILED)[ID]
    assert (entry["status"], entry["error_reason"], entry["applied_at"]) == ("failed", "Position closed", None)
    assert (entry["created_at"], entry["resume_optimized"]) == (START, {"round": 1, "for": 1})


def test_the_jobs_of_one_application_have_entries_of_their_own() -> None:
    story = TWO_JOBS.applied(1).refused(2).failed()
    assert list(shown(applied, story)) == [f"{ID}-1"]
    assert list(shown(failed, story)) == [f"{ID}-2"]


def test_a_retry_takes_the_failed_jobs_out_of_the_list_and_leaves_the_applied() -> None:
    story = TWO_JOBS.applied(1).refused(2).failed().retried()
    assert shown(failed, story) == {}
    assert list(shown(applied, story)) == [f"{ID}-1"]


def test_what_fails_again_is_listed_again() -> None:
    story = FAILED.retried().started().attempted(1).refused(1, "Still closed").failed()
    assert shown(failed, story)[ID]["error_reason"] == "Still closed"


def test_cancelled_after_a_retry_only_what_was_applied_stays_listed() -> None:
    story = TWO_JOBS.applied(1).refused(2).failed().retried().cancelled()
    assert (list(shown(applied, story)), shown(failed, story)) == ([f"{ID}-1"], {})


def test_a_late_applied_moves_the_entry() -> None:
    story = an_application().submitted().started().attempted(1).unknown().failed()
    assert list(shown(failed, story)) == [ID]
    late = story.applied(1).succeeded()
    assert (shown(failed, late), list(shown(applied, late))) == ({}, [ID])


def test_a_late_applied_after_a_retry_finds_no_entry_to_move() -> None:
    late = an_application().submitted().started().attempted(1).unknown().failed().retried().applied(1).succeeded()
    assert (shown(failed, late), list(shown(applied, late))) == ({}, [ID])


# -- the order of the lists -------------------------------------------------------------------------------------------


def test_newest_submission_first_and_jobs_in_their_order() -> None:
    older, newer = some_applications(2)
    stories = [replace(one, events=()).submitted(jobs=12).started() for one in (older, newer)]
    entries = [entry for story in stories for entry in shown(applied, _all_applied(story, 12)).values()]
    ordered = sorted(entries, key=lambda entry: entry["order"], reverse=True)
    assert [(e["application_id"], e["position"]) for e in ordered] == [
        (story.id.hex, position) for story in (newer, older) for position in range(1, 13)
    ]


def _all_applied(story: ApplicationStory, jobs: int) -> ApplicationStory:
    for position in range(1, jobs + 1):
        story = story.applied(position)
    return story


def test_of_two_submissions_in_the_same_millisecond_the_later_id_is_first() -> None:
    assert order_of(START, UUID(int=2), 1) > order_of(START, UUID(int=1), 1)


@pytest.mark.parametrize("micros", [0, 1, 999])
def test_a_range_of_dates_is_a_range_of_the_order(micros: int) -> None:
    """Both ends inclusive, and a submission has whole milliseconds."""
    limit = START + timedelta(microseconds=micros)
    for milliseconds in (-1, 0, 1):
        submitted = START + timedelta(milliseconds=milliseconds)
        order = order_of(submitted, APPLICATION_ID, 1)
        assert (order >= order_from(limit)) == (submitted >= limit)
        assert (order < order_beyond(limit)) == (submitted <= limit)


def test_dates_at_the_ends_of_time_have_a_place() -> None:
    order = order_of(START, APPLICATION_ID, 1)
    assert order_from(datetime(1, 1, 1, tzinfo=UTC)) < order < order_from(datetime.max.replace(tzinfo=UTC))


def test_case_is_folded_not_only_lowered() -> None:
    assert folded("STRASSE") == folded("straße")
    assert folded(None) is None


# -- totals -----------------------------------------------------------------------------------------------------------

LISTS = {"applied", "failed"}
PENDING, SUCCESS, FAILURE = '["status","pending"]', '["status","success"]', '["status","failed"]'
ALL_APPLIED, ALL_FAILED = '["entries","applied","ada"]', '["entries","failed","ada"]'


def test_each_application_is_counted_in_its_status() -> None:
    assert counts(*some_applications(3)) == {PENDING: 3}
    assert counts(FAILED)[FAILURE] == 1
    assert counts(an_application().submitted().started()) == {'["status","processing"]': 1}
    assert counts(an_application().submitted().cancelled()) == {'["status","cancelled"]': 1}


@pytest.mark.parametrize("life", LIVES[:5], ids=lambda life: " ".join(e.NAME.split(".")[1] for e in life))
def test_one_application_is_in_one_status_at_any_time(life: Story) -> None:
    for length in range(1, len(life.events) + 1):
        part = replace(life, events=life.events[:length])
        status_now = Status(shown(status, part)[ID]["status"])
        by_status = {key: count for key, count in counts(part).items() if "status" in key}
        assert by_status == {f'["status","{status_now.value}"]': 1}
        of_user = shown(totals, part)[totals.applications_key("ada")]
        assert (of_user["count"], of_user["parts"]) == (1, {status_now.value: 1})


@pytest.mark.parametrize("life", LIVES[:5], ids=lambda life: " ".join(e.NAME.split(".")[1] for e in life))
def test_the_totals_equal_the_lists_at_any_time(life: Story) -> None:
    for length in range(1, len(life.events) + 1):
        part = replace(life, events=life.events[:length])
        counted = counts(part)
        assert counted.get(ALL_APPLIED, 0) == len(shown(applied, part))
        assert counted.get(ALL_FAILED, 0) == len(shown(failed, part))


def test_entries_are_counted_by_portal_as_it_was_written() -> None:
    jobs = [a_job(portal=portal) for portal in ("LinkedIn", "linkedin", "LinkedIn", None)]
    docs = shown(totals, _all_applied(an_application().submitted(jobs).started(), 4))
    entries = [doc for doc in docs.values() if doc.get("list") in LISTS]
    assert {(doc.get("portal"), doc.get("portal_folded"), doc["count"]) for doc in entries} == {
        (None, None, 4),
        ("linkedin", "linkedin", 1),
        ("LinkedIn", "linkedin", 2),
    }


def test_each_users_applications_and_batches_are_counted() -> None:
    bobs = [replace(a_batch(user="bob"), id=UUID(int=4)), *some_applications(3, "bob")]
    docs = shown(totals, a_batch(2), FAILED, *bobs, some_applications(1, "bob")[0].started().recorded()[1:])
    counted = {
        (doc["user_id"], doc["list"]): (doc["count"], doc.get("parts")) for doc in docs.values() if "list" in doc
    }
    assert counted == {
        ("ada", "batches"): (1, None),
        ("ada", "applications"): (1, {"failed": 1}),
        ("ada", "failed"): (1, None),
        ("bob", "batches"): (1, None),
        ("bob", "applications"): (3, {"pending": 2, "processing": 1}),
    }


def test_users_and_portals_with_odd_names_never_meet() -> None:
    one = an_application(user='a","b').submitted([a_job(portal="c")]).started().applied(1)
    other = replace(an_application(user="a").submitted([a_job(portal='b","c')]).started().applied(1), id=UUID(int=9))
    assert sorted(counts(one, other).values()) == [1, 1, 1, 1, 2]
