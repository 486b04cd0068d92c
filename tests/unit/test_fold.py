"""Folding a batch of events: the same documents as one by one, at most one write each, and what a poison event does."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.event import Event, RecordedEvent
from projections import applied, failed, status, totals
from projections.fold import Batch, place_of
from projections.parked import Poison, group_of, parked_document
from projections.read_model import Document, Documents, ReadModel, UnknownEvent
from projections.read_models import READ_MODELS
from projections.view import Advance, BuildName, Lease
from tests.builders import APPLICATION_ID, ApplicationStory, an_application

LEASE = Lease(BuildName("status", 1, 1), token=1, position=0)
OTHER_ID = UUID(int=APPLICATION_ID.int + 1)
UNDECIDED = an_application().submitted(jobs=2).started().attempted(1, 2).applied(1).unknown(2).failed()
LIFE = UNDECIDED.applied(2).succeeded()
RETRIED = an_application(OTHER_ID, "bob").submitted().started().attempted(1).refused().failed().retried().cancelled()


@dataclass
class Store:
    """What a store keeps of one build."""

    model: ReadModel
    docs: dict[str, Document] = field(default_factory=dict)
    lease: Lease = LEASE
    writes: int = 0

    def fold(self, events: Sequence[RecordedEvent], *poisons: Poison, stopped: str | None = None) -> Advance:
        batch = Batch.of(self.model, self.lease, events, {place_of(poison.recorded): poison for poison in poisons})
        return batch.fold({id: dict(self.docs[id]) for id in batch.known_before if id in self.docs}, stopped)

    def commit(self, advance: Advance) -> None:
        for doc in (*advance.inserted, *advance.replaced):
            self.docs[doc["_id"]] = doc
        for id in advance.removed:
            del self.docs[id]
        self.lease = advance.after
        self.writes += len(advance.inserted) + len(advance.replaced) + len(advance.removed)


def mixed(*stories: ApplicationStory) -> Sequence[RecordedEvent]:
    """Their events in turns, in one log."""
    lists = [list(story.recorded()) for story in stories]
    turns = [one[n] for n in range(max(map(len, lists))) for one in lists if n < len(one)]
    return [replace(one, position=position) for position, one in enumerate(turns, 1)]


LOG = mixed(LIFE, RETRIED)


def after(model: ReadModel, events: Sequence[RecordedEvent], cuts: Iterable[int] = ()) -> Store:
    """The store after the events, in batches that end at the cuts."""
    store = Store(model)
    begins = [0, *sorted(set(cuts)), len(events)]
    for begin, end in pairwise(begins):
        if events[begin:end]:
            store.commit(store.fold(events[begin:end]))
    return store


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.NAME)
@given(cuts=st.sets(st.integers(1, len(LOG) - 1)))
def test_however_the_log_is_cut_the_documents_are_the_same(model: ReadModel, cuts: set[int]) -> None:
    cut, whole = after(model, LOG, cuts), after(model, LOG)
    assert cut.docs == whole.docs
    assert [list(doc) for doc in cut.docs.values()] == [list(whole.docs[id]) for id in cut.docs], "order of fields"


def test_a_batch_writes_each_document_once() -> None:
    assert after(status, LOG).writes == 2 * 2, "where it stands, and its jobs"


def test_what_comes_and_goes_within_a_batch_is_not_written() -> None:
    assert after(failed, LOG).writes == 0
    assert after(applied, LOG).writes == 2


def test_events_that_change_nothing_move_the_position() -> None:
    store = Store(applied)
    advance = store.fold(an_application().submitted().started().recorded(5))
    assert (advance.position, advance.inserted, advance.replaced, advance.removed) == (6, [], [], [])


# -- poison -----------------------------------------------------------------------------------------------------------


@dataclass
class Picky:
    """A read model that counts each stream's events, and cannot take some of them."""

    poison: set[tuple[UUID, int]]
    NAME: str = "picky"
    VERSION: int = 1
    INDEXES: Sequence[object] = ()
    SPANS_STREAMS: bool = False

    def touches(self, recorded: RecordedEvent) -> Collection[str]:
        return [recorded.stream_id.hex]

    def is_new(self, _id: str, _recorded: RecordedEvent) -> bool:
        return False

    def apply(self, recorded: RecordedEvent, docs: Documents) -> None:
        key = recorded.stream_id.hex
        docs[key] = {"_id": key, "events": docs.get(key, {"events": 0})["events"] + 1}
        if (recorded.stream_id, recorded.version) in self.poison:
            raise ValueError(f"cannot take '{recorded.event.NAME}' of {key}")


@pytest.fixture
def picky() -> Picky:
    """It stumbles over the third event of the first stream."""
    return Picky({(APPLICATION_ID, 3)})


def poison_in(store: Store, events: Sequence[RecordedEvent]) -> Poison:
    with pytest.raises(Poison) as caught:
        store.fold(events)
    return caught.value


def test_a_poison_event_names_its_stream_and_its_error(picky: Picky) -> None:
    poison = poison_in(Store(picky), LOG)  # type: ignore[arg-type]
    assert (poison.recorded.stream_id, poison.recorded.version) == (APPLICATION_ID, 3)
    assert poison.reason == f"ValueError: cannot take 'application.documents_written' of {APPLICATION_ID.hex}"


def test_a_parked_stream_waits_and_all_others_go_on(picky: Picky) -> None:
    store = Store(picky)  # type: ignore[arg-type]
    store.commit(store.fold(LOG, poison_in(store, LOG)))
    assert store.docs[APPLICATION_ID.hex]["events"] == 2
    assert store.docs[OTHER_ID.hex]["events"] == len(RETRIED.events)
    poisoned = next(one for one in LOG if one.stream_id == APPLICATION_ID and one.version == 3)
    assert store.lease.parked == {APPLICATION_ID.hex: poisoned.position}
    assert store.docs[f"parked:{APPLICATION_ID.hex}"] == {
        "_id": f"parked:{APPLICATION_ID.hex}",
        "stream": APPLICATION_ID.hex,
        "concerns": "ada",
        "position": poisoned.position,
        "version": 3,
        "event_type": "application.documents_written",
        "error": f"ValueError: cannot take 'application.documents_written' of {APPLICATION_ID.hex}",
        "group": group_of(poison_in(Store(picky), LOG)),  # type: ignore[arg-type]
        "first_at": poisoned.metadata.at,
        "waiting": len(LIFE.events) - 3,
    }


@given(cuts=st.sets(st.integers(1, len(LOG) - 1)))
def test_however_the_log_is_cut_the_same_is_parked(cuts: set[int]) -> None:
    model = Picky({(APPLICATION_ID, 3), (OTHER_ID, 1)})
    whole, cut = Store(model), Store(model)  # type: ignore[arg-type]
    begins = [0, *sorted(cuts), len(LOG)]
    for store, edges in ((whole, [0, len(LOG)]), (cut, begins)):
        for begin, end in pairwise(edges):
            commit_past_poison(store, LOG[begin:end])
    assert cut.docs == whole.docs
    assert cut.lease == whole.lease


def commit_past_poison(store: Store, events: Sequence[RecordedEvent]) -> None:
    known: list[Poison] = []
    while True:
        try:
            return store.commit(store.fold(events, *known))
        except Poison as poison:
            known.append(poison)


def test_an_event_that_even_its_ids_cannot_be_told_of_is_poison() -> None:
    ownerless = [replace(one, metadata=replace(one.metadata, owner=None)) for one in LOG]
    poison = poison_in(Store(totals), [one for one in ownerless if one.event.NAME == "application.job_applied"])
    assert "has no owner" in poison.reason
    assert parked_document(poison)["concerns"] == ""


def test_what_this_release_does_not_know_is_no_poison() -> None:
    class Surprise(Event, name="test.surprise_in_a_batch"):
        pass

    first = LOG[0]
    with pytest.raises(UnknownEvent):
        Store(status).fold([RecordedEvent(first.stream_id, 1, Surprise(), first.metadata, 1)])


def test_alike_errors_have_one_group() -> None:
    first, other = (
        Poison(recorded, KeyError(text))
        for recorded, text in ((LOG[0], f"{APPLICATION_ID.hex}-1"), (LOG[1], f"{OTHER_ID.hex}-27"))
    )
    assert group_of(first) == group_of(other)
    assert group_of(first) != group_of(Poison(LOG[0], ValueError("x")))
    assert group_of(first) != group_of(Poison(LOG[2], KeyError("x")))
