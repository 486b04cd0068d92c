"""How the sandbox portal answers, over real HTTP: markers, keys, modes (contract portals.md 3)."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from consumers.portals import Applied, NotTaken, Refused, Unknown
from consumers.portals.http import HttpPortal
from consumers.portals.sandbox.markers import Markers
from consumers.portals.sandbox.server import SLOW_MODE_SECONDS
from tests.sandbox import Caller, received
from tests.submissions import Pdf, a_submission

CLOSED = (422, {"message": "Position closed"})
DOWN = (503, {"message": "The portal is down"})


# -- markers ----------------------------------------------------------------------------------------------------------


async def test_without_a_marker_it_takes_the_job(sandbox: Caller) -> None:
    status, body = await sandbox.submit("Baker [m/f]")
    assert status == 200
    assert body["reference"].startswith("SBX-")


async def test_reject_refuses_for_good(sandbox: Caller) -> None:
    assert await sandbox.submit("Baker [reject]") == CLOSED
    assert await sandbox.submit("Baker") == CLOSED  # the same key: the first definite answer again
    assert (await sandbox.submit("Baker", key="entry-1-2"))[0] == 200
    entry = await sandbox.entry()
    assert (entry["refused"], entry["taken"], entry["deliveries"]) == (1, 1, 3)
    assert entry["idempotency_keys"] == ["entry-1-1", "entry-1-2"]


async def test_fail_turns_the_first_deliveries_of_an_entry_away(sandbox: Caller) -> None:
    assert await sandbox.submit("[fail:2]", key="a") == DOWN
    assert await sandbox.submit("[fail:2]", key="b") == DOWN
    assert (await sandbox.submit("[fail:2]", key="b"))[0] == 200
    assert await sandbox.submit("[fail:1]", entry="other-1") == DOWN
    assert (await sandbox.entry())["taken"] == 1


async def test_down_turns_every_delivery_away(sandbox: Caller) -> None:
    for _ in range(3):
        assert await sandbox.submit("[down]") == DOWN
    entry = await sandbox.entry()
    assert (entry["deliveries"], entry["taken"], entry["reference"]) == (3, 0, None)


async def test_slow_takes_the_job_and_answers_late(sandbox: Caller) -> None:
    began = time.monotonic()
    slow = asyncio.create_task(sandbox.submit("[slow:5]"))
    await received(sandbox, "entry-1")
    assert not slow.done()
    assert (await slow)[0] == 200
    assert time.monotonic() - began >= 5


async def test_hang_takes_the_job_and_never_answers(sandbox: Caller) -> None:
    await hangs(sandbox, "[hang]", deliveries=1)
    await hangs(sandbox, "[hang]", deliveries=2)
    assert (await sandbox.entry())["taken"] == 1


async def hangs(sandbox: Caller, title: str = "", *, deliveries: int = 1) -> None:
    """The portal has it, as one of so many deliveries, and does not answer."""
    asking = asyncio.create_task(sandbox.submit(title))
    await received(sandbox, "entry-1")
    async with asyncio.timeout(10):
        while (await sandbox.entry())["deliveries"] < deliveries:
            await asyncio.sleep(0.01)
    answered, _ = await asyncio.wait({asking}, timeout=0.3)
    assert not answered
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_drop_takes_the_job_and_hangs_up_on_the_first_delivery_of_each_key(sandbox: Caller) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.submit("[drop]", key="a")
    entry = await sandbox.entry()
    assert await sandbox.submit("[drop]", key="a") == (200, {"reference": entry["reference"]})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.submit("[drop]", key="b")
    assert (await sandbox.entry())["taken"] == 2


async def test_markers_stand_together(sandbox: Caller) -> None:
    assert await sandbox.submit("[fail:1][drop] Baker [reject]") == DOWN
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.submit("[fail:1][drop] Baker [reject]")
    assert await sandbox.submit("[fail:1][drop] Baker [reject]") == CLOSED
    began = time.monotonic()
    assert await sandbox.submit("[down][hang][slow:0.2]", entry="other-1") == DOWN
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("title", "markers"),
    [
        ("[slow:999]", Markers(slow=60)),
        ("[SLOW:1.5] x [Drop]", Markers(slow=1.5, drop=True)),
        ("[fail:3] [fail:2]", Markers(fail=3)),
        ("[fail:x] [slow:-1] [rejected] reject down", Markers()),
        ("[reject][down][hang][drop]", Markers(reject=True, down=True, hang=True, drop=True)),
    ],
)
def test_what_is_a_marker(title: str, markers: Markers) -> None:
    assert Markers.of(title) == markers


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_seen_before_gives_the_same_answer_and_takes_nothing(sandbox: Caller) -> None:
    first = await sandbox.submit()
    assert [await sandbox.submit() for _ in range(3)] == [first] * 3
    entry = await sandbox.entry()
    assert (entry["deliveries"], entry["taken"], entry["reference"]) == (4, 1, first[1]["reference"])


async def test_a_503_is_not_kept_for_a_key(sandbox: Caller) -> None:
    assert await sandbox.submit("[fail:1]") == DOWN
    assert (await sandbox.submit("[fail:1]"))[0] == 200


async def test_two_with_one_key_at_the_same_moment_take_it_once(sandbox: Caller) -> None:
    answers = await asyncio.gather(*(sandbox.submit(entry=f"e{n % 5}-1") for n in range(100)))
    assert {status for status, _ in answers} == {200}
    assert await sandbox.summary() == {"entries": 5, "deliveries": 100, "taken": 5, "taken_twice": 0, "refused": 0}


async def test_without_keys_each_delivery_is_taken_again(sandbox: Caller) -> None:
    references = [(await sandbox.submit(blind=True, key=key))[1]["reference"] for key in ("", "", "a", "a")]
    assert len(set(references)) == 4
    entry = await sandbox.entry()
    assert (entry["taken"], entry["idempotency_keys"], entry["reference"]) == (4, ["a"], references[0])
    assert (await sandbox.summary())["taken_twice"] == 1


async def test_the_blind_call_obeys_markers(sandbox: Caller) -> None:
    assert await sandbox.submit("[reject]", blind=True) == CLOSED
    assert await sandbox.submit("[reject]", blind=True) == CLOSED
    assert (await sandbox.entry())["refused"] == 2
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await sandbox.submit("[drop]", blind=True, entry="other-1", key="a")
    assert (await sandbox.submit("[drop]", blind=True, entry="other-1", key="a"))[0] == 200


# -- modes ------------------------------------------------------------------------------------------------------------


async def mode(sandbox: Caller, name: str, seconds: float | None = None) -> None:
    change = {"mode": name} if seconds is None else {"mode": name, "seconds": seconds}
    status, body = await sandbox.call("PUT", "/mode", json=change)
    assert (status, body["mode"]) == (200, name)


async def test_the_whole_portal_is_down_until_the_next_mode(sandbox: Caller) -> None:
    first = await sandbox.submit()
    await mode(sandbox, "down")
    assert await sandbox.submit() == DOWN
    assert await sandbox.submit(entry="other-1") == DOWN
    assert (await sandbox.entry("other-1"))["taken"] == 0
    await mode(sandbox, "ok")
    assert await sandbox.submit() == first


async def test_a_mode_lasts_for_so_long(sandbox: Caller) -> None:
    began = time.monotonic()
    await mode(sandbox, "down", 0.4)
    async with asyncio.timeout(10):
        while await sandbox.submit() == DOWN:
            await asyncio.sleep(0.02)
    assert time.monotonic() - began >= 0.4


async def test_the_whole_portal_hangs(sandbox: Caller) -> None:
    await mode(sandbox, "hang", 30)
    await hangs(sandbox)
    assert (await sandbox.entry())["taken"] == 1


async def test_the_whole_portal_is_slow(sandbox: Caller) -> None:
    await mode(sandbox, "slow", 30)
    began = time.monotonic()
    assert (await sandbox.submit())[0] == 200
    assert time.monotonic() - began >= SLOW_MODE_SECONDS


@pytest.mark.parametrize(
    "change", [{}, {"mode": "odd"}, {"mode": "down", "seconds": -1}, {"mode": "ok", "seconds": "x"}, []]
)
async def test_a_mode_that_is_none_is_refused(sandbox: Caller, change: Any) -> None:
    status, body = await sandbox.call("PUT", "/mode", json=change)
    assert status == 422
    assert "mode" in body["message"]


# -- with the adapter -------------------------------------------------------------------------------------------------


async def test_the_http_adapter_and_the_sandbox_understand_each_other(sandbox: Caller) -> None:
    entry = {"url": f"{sandbox.base}/submit", "timeout": 10.0, "delivery": "at_least_once"}
    async with HttpPortal(entry) as portal, HttpPortal({**entry, "timeout": 1.0}) as impatient:
        taken = await portal.submit(a_submission(cv=Pdf(b"%PDF-" + b"x" * 50_000)))
        assert taken == Applied((await sandbox.entry())["reference"])
        assert await portal.submit(a_submission()) == taken
        assert await portal.submit(a_submission("[reject]", entry_id="b-1")) == Refused("Position closed")
        assert isinstance(await portal.submit(a_submission("[down]", entry_id="c-1")), NotTaken)
        assert isinstance(await impatient.submit(a_submission("[hang]", entry_id="d-1")), Unknown)
        assert isinstance(await portal.submit(a_submission("[drop]", entry_id="e-1")), Unknown)
        again = await portal.submit(a_submission("[drop]", entry_id="e-1"))
        assert again == Applied((await sandbox.entry("e-1"))["reference"])
