"""An append whose outcome is unknown, at each step of a run: no portal is called on it, and all ends (design 5)."""

import pytest

from consumers.portals import Applied, Delivery, Outcome, Submission
from consumers.processing import Handled
from domain.application_events import JobAttempted, ProcessingStarted
from domain.errors import OutcomeUnknown
from domain.ports import Append
from tests.fakes.event_log import FakeEventLog
from tests.workshop import ScriptedPortal, Workshop

START, ATTEMPT, RESULT = 2, 3, 4  # number of the append; the first one is the submission


class UncertainLog(FakeEventLog):
    """The outcome of one append is not known; `stored` is what it was."""

    def __init__(self, number: int, stored: bool) -> None:
        super().__init__()
        self._number, self._stored, self._appends = number, stored, 0

    async def append(self, append: Append) -> int:
        self._appends += 1
        if self._appends != self._number:
            return await super().append(append)
        if self._stored:
            await super().append(append)
        raise OutcomeUnknown("lost inside a commit")


@pytest.fixture(params=[True, False], ids=["stored", "not stored"])
def stored(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=list(Delivery))
def portal(request: pytest.FixtureRequest) -> ScriptedPortal:
    return ScriptedPortal(delivery=request.param)


@pytest.mark.parametrize("number", [START, ATTEMPT, RESULT])
async def test_it_ends_in_success_and_the_portal_got_it_once(portal: ScriptedPortal, number: int, stored: bool) -> None:
    async with Workshop([portal], log=UncertainLog(number, stored)) as shop:
        id = await shop.submitted()

        async def look(_: Submission) -> Outcome:
            events = await shop.events(id)
            assert isinstance(events[-1], JobAttempted), "the attempt is in the log, for certain"
            assert events[-1].start == len([e for e in events if isinstance(e, ProcessingStarted)])
            return Applied("SBX-1")

        portal.answers = [look]
        try:
            handled = await shop.handle(id)
        except OutcomeUnknown:
            assert number == START
            assert portal.submissions == []
            handled = Handled.WAITING
        if handled is Handled.WAITING:
            assert portal.submissions == []
            handled = await shop.handle_until_ended(id)
        assert handled is Handled.SUCCESS
        assert len(portal.submissions) == 1
        assert (await shop.names(id))[-2:] == ["job_applied", "succeeded"]
