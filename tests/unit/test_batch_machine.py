"""Random lives of a batch and its items, against what the contract says of them (http.md 7)."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.application import Application, refused
from domain.batch import Batch, batch_status
from domain.errors import ApplicationAlreadyProcessed
from domain.event import Event
from domain.retry import RetryPolicy
from tests.builders import BATCH_ID, some_jobs

positions = st.integers(0, 3)


class BatchLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.started = False
        self.open_for_cancel = True  # it was never cancelled, or an item was retried since
        self.policy = RetryPolicy()

    @initialize(items=st.integers(1, 4))
    def submitted(self, items: int) -> None:
        self.items = [Application(UUID(int=n + 1)) for n in range(items)]
        self.words = ["pending"] * items
        for n in range(items):
            self.item_does(n, self.items[n].submit(some_jobs(1), None, None))
        self.batch_events = list(Batch(BATCH_ID).submit(tuple(item.id for item in self.items)))
        self.batch = Batch.fold(BATCH_ID, self.batch_events)

    @rule(item=positions)
    def an_item_starts(self, item: int) -> None:
        n = item % len(self.items)
        if self.words[n] == "pending":
            self.item_does(n, self.items[n].start(self.policy))
            self.words[n], self.started = "processing", True

    @rule(item=positions, applied=st.booleans())
    def an_item_ends(self, item: int, applied: bool) -> None:
        n = item % len(self.items)
        if self.words[n] == "processing":
            one = self.items[n]
            verdict = refused("Position closed", "PortalRefusedError")
            self.item_does(n, one.record_applied(1, None) if applied else one.record_failed(1, one.starts, verdict))
            self.words[n] = "success" if applied else "failed"

    @rule(item=positions)
    def an_item_is_retried(self, item: int) -> None:
        n = item % len(self.items)
        if self.words[n] == "failed":
            self.item_does(n, self.items[n].retry())
            self.words[n], self.open_for_cancel = "pending", True

    @rule(item=positions)
    def an_item_is_cancelled(self, item: int) -> None:
        n = item % len(self.items)
        if self.words[n] == "pending":
            self.item_does(n, self.items[n].cancel())
            self.words[n] = "cancelled"

    @rule()
    def the_batch_is_cancelled(self) -> None:
        pending = [n for n, word in enumerate(self.words) if word == "pending"]
        running = bool({"pending", "processing"} & set(self.words))
        try:
            [event] = self.batch.cancel(self.items)
        except ApplicationAlreadyProcessed:
            assert not (running and self.open_for_cancel)
            return
        assert running
        assert self.open_for_cancel
        assert getattr(event, "cancelled", None) == tuple(self.items[n].id for n in pending)
        self.batch_events.append(event)
        self.batch, self.open_for_cancel = self.batch.after(event), False
        for n in pending:
            self.item_does(n, self.items[n].cancel())
            self.words[n] = "cancelled"

    def item_does(self, n: int, events: Sequence[Event]) -> None:
        assert events
        for event in events:
            self.items[n] = self.items[n].after(event)

    @invariant()
    def its_status_is_what_users_were_told(self) -> None:
        if self.words:
            statuses = [item.status for item in self.items]
            assert [str(status) for status in statuses] == self.words
            started = any(item.starts for item in self.items)
            assert batch_status(statuses, started=started) == told(self.words, self.started)

    @invariant()
    def the_fold_gives_the_same_again(self) -> None:
        if self.words:
            assert Batch.fold(BATCH_ID, self.batch_events) == self.batch


def told(items: Sequence[str], started: bool) -> str:
    """Contract http.md 7.2 in its own words."""
    ended = [word for word in items if word not in {"pending", "processing"}]
    if len(ended) < len(items):
        return "processing" if started else "pending"
    counts = {word: ended.count(word) for word in ("success", "failed", "cancelled")}
    if counts["success"] == len(items):
        return "completed"
    if counts["cancelled"] == len(items):
        return "cancelled"
    return "failed" if counts["success"] == 0 and counts["failed"] else "partial"


TestBatchLife = BatchLife.TestCase
TestBatchLife.settings = settings(max_examples=200, stateful_step_count=60)
