"""One window of a rate limit: what counts in it, by its document and by the time (contract http.md 1.4)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.rate_windows import OLDEST, SLOTS, Size, Window, counting, giving_back, taking_out

HOUR = Size.of(1000, 3600)
NOW = 1_764_000_000_000
HOUR_MS = 3_600_000


def document(slots: dict[int, int], version: int = 0) -> dict[str, Any]:
    return {"total": sum(slots.values()), "version": version, "slots": {str(slot): n for slot, n in slots.items()}}


def a_window(slots: dict[int, int], now: int = NOW, size: Size = HOUR) -> Window:
    return Window.of(size, document(slots), now, 0.0)


@pytest.mark.parametrize("limit", [1, 1000, SLOTS])
@pytest.mark.parametrize("seconds", [1, 60, 3600, 86400])
def test_a_hit_of_a_usual_limit_counts_for_exactly_the_period(limit: int, seconds: int) -> None:
    size = Size.of(limit, seconds)
    assert size.leaves(size.slot_at(NOW + 7)) == NOW + 7 + 1000 * seconds


@pytest.mark.parametrize(("seconds", "late"), [(1, 0), (60, 15), (3600, 999), (86400, 23_999)])
def test_a_hit_of_a_huge_limit_never_leaves_early_and_a_slot_late_at_most(seconds: int, late: int) -> None:
    size = Size.of(10_000_000, seconds)
    ages = [size.leaves(size.slot_at(NOW + ms)) - NOW - ms - 1000 * seconds for ms in range(late + 1)]
    assert (min(ages), max(ages)) == (0, late)


def test_what_has_left_does_not_count() -> None:
    window = a_window({NOW - HOUR_MS - 5: 3, NOW - HOUR_MS: 2, NOW - HOUR_MS + 1: 4, NOW - 10: 1})
    assert (window.hits, window.next_leaves()) == (5, NOW + 1)
    assert window.left == {NOW - HOUR_MS - 5: 3, NOW - HOUR_MS: 2}


def test_time_lets_go_one_after_the_other() -> None:
    window = a_window({NOW - 3000: 2, NOW - 2000: 3, NOW - 1500: 1})
    assert window.advance(NOW - 3000 + HOUR_MS - 1)
    assert window.hits == 6
    assert window.advance(NOW - 3000 + HOUR_MS)
    assert (window.hits, window.next_leaves()) == (4, NOW - 2000 + HOUR_MS)
    assert window.advance(NOW + HOUR_MS)
    assert (window.hits, window.next_leaves()) == (0, None)


def test_later_hits_are_told_by_the_total_alone() -> None:
    window = a_window({NOW - 3000: 2, NOW - 2000: 3})
    window.total += 4
    assert window.advance(NOW - 3000 + HOUR_MS)
    assert window.hits == 7


def test_it_is_not_known_what_else_a_slot_held_that_was_still_open() -> None:
    window = a_window({NOW - 3000: 2, NOW - 500: 1, NOW: 1})
    window.total += 1  # in one of the last two, perhaps
    assert window.advance(NOW - 500 + HOUR_MS - 1)
    assert not window.advance(NOW - 500 + HOUR_MS)


def test_it_is_not_known_what_comes_after_the_oldest() -> None:
    window = a_window({NOW - 100_000 + second: 1 for second in range(OLDEST + 1)})
    assert window.advance(NOW - 100_000 + HOUR_MS + OLDEST - 2)
    assert window.hits == 2
    assert not window.advance(NOW - 100_000 + HOUR_MS + OLDEST - 1)


def test_what_was_given_back_is_not_the_oldest() -> None:
    assert a_window({NOW - 2000: 0, NOW - 1500: 1}).next_leaves() == NOW - 1500 + HOUR_MS


def test_what_has_left_is_taken_out_as_it_was_seen() -> None:
    gone = {NOW - HOUR_MS - 2: 3, NOW - HOUR_MS - 1: 2}
    update = taking_out("k", a_window({**gone, NOW: 1}))
    seen = {f"slots.{slot}": hits for slot, hits in gone.items()}
    assert update["q"] == {"_id": "k", **seen}
    assert update["u"] == {"$unset": dict.fromkeys(seen, 1), "$inc": {"total": -5, "version": 1}}


@pytest.mark.parametrize(
    ("gone", "counting", "amount", "needs"),
    [(0, 1000, 1, False), (1, 10, 1, False), (1, 990, 9, False), (1, 990, 10, True), (OLDEST, 10, 1, True)],
)
def test_it_is_taken_out_when_it_is_much_or_in_the_way(gone: int, counting: int, amount: int, needs: bool) -> None:
    window = a_window({**{NOW - HOUR_MS - n: 1 for n in range(gone)}, NOW: counting})
    assert window.needs_taking_out(amount) == needs


@pytest.mark.parametrize(("hits", "amount", "plenty"), [(499, 1, True), (400, 100, True), (499, 2, False)])
def test_there_is_plenty_of_room_while_half_is_left(hits: int, amount: int, plenty: bool) -> None:
    assert a_window({NOW - HOUR_MS: 700, NOW: hits}).has_plenty(amount) == plenty


def test_hits_say_themselves_when_they_may_happen() -> None:
    update = counting("k", HOUR, 3, NOW, plenty=False)
    assert update["q"] == {"_id": "k", "total": {"$lte": 997}}
    assert counting("k", HOUR, 3, NOW, plenty=True) == {**update, "q": {"_id": "k"}}
    assert update["u"]["$inc"] == {"total": 3, f"slots.{NOW}": 3}


@pytest.mark.parametrize("ms", [0, 1, 29_999, 59_999])
def test_a_document_goes_a_minute_or_two_after_its_last_hit_has_left(ms: int) -> None:
    late = HOUR.expire_at(NOW + ms) - datetime.fromtimestamp((NOW + ms + HOUR_MS) / 1000, UTC)
    assert 60 < late.total_seconds() <= 120


@pytest.mark.parametrize(
    ("since", "amount", "slot"),
    [
        pytest.param(NOW, 1, NOW, id="their own"),
        pytest.param(NOW - 10, 1, NOW - 10, id="an earlier one, so that what stays counts longer"),
        pytest.param(NOW - 10, 5, NOW, id="one that has so many"),
        pytest.param(NOW - 10, 6, None, id="none"),
        pytest.param(NOW + 1, 1, None, id="none since then"),
    ],
)
def test_hits_are_given_back_out_of_one_slot(since: int, amount: int, slot: int | None) -> None:
    update = giving_back("k", document({NOW - 20: 9, NOW - 10: 2, NOW: 5}), since, amount)
    if slot is None:
        assert update is None
    else:
        name, held = f"slots.{slot}", {NOW - 10: 2, NOW: 5}[slot]
        changes = {"$inc": {"total": -amount, name: -amount, "version": 1}}
        assert update == {"q": {"_id": "k", name: held}, "u": changes}
