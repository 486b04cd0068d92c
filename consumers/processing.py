"""What a worker does with one piece of work, whatever brought it: it knows no broker (contract messaging.md 3).

    load ─▶ is there anything to do? ─▶ read its CV ─▶ claim and start, in one append ─▶ run ─▶ claim given back

Everything before the start changes nothing and may be done again. From the start on, the claim is kept and renewed;
what a kill leaves behind then is told in `application_run.py`.
"""

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from consumers.application_run import ApplicationRun, Tools
from consumers.claim_keeper import ClaimKeeper, ClaimLost
from consumers.cv_shelf import CvShelf, HeldCv
from domain.application import Application
from domain.application_events import Status
from domain.commands import Loaded
from domain.errors import ClaimedElsewhere, Conflict, StoreError
from domain.event import Cause
from domain.ports import Claim, Claims
from infra.messages import Work


class Handled(StrEnum):
    """What became of a piece of work."""

    SUCCESS = "success"
    FAILED = "failed"
    WAITING = "waiting"  # a RetryScheduled follows it
    NOTHING = "nothing"  # there was nothing to do
    UNKNOWN = "unknown"  # there is no such application of this user
    CLAIMED = "claimed"  # another worker has it: try again when that has ended


def claim_name(id: UUID) -> str:
    return f"application:{id.hex}"


@dataclass(frozen=True, slots=True)
class Processing:
    """One worker's. What runs is told to `watcher`."""

    tools: Tools
    claims: Claims
    keeper: ClaimKeeper
    cvs: CvShelf
    watcher: "Watcher"

    async def handle(self, work: Work, cause: Cause) -> Handled:
        """Returns once all that follows from the work is in the log, or when another worker has it.

        Raises a StoreError or Overloaded when a store is away and nothing was begun: the work must come again then.
        """
        loaded = await self._find(work)
        if loaded is None:
            return Handled.UNKNOWN
        if _nothing_to_do(loaded.application, work.version):
            return Handled.NOTHING
        async with self.cvs.hold(loaded.application.cv) as cv:
            return await self._start(loaded, cause, cv)

    async def _find(self, work: Work) -> Loaded | None:
        id = work.stream_id
        loaded = await self.tools.commands.load(id) if id else None
        return loaded if loaded and loaded.owner.user_id == work.user_id else None

    async def _start(self, loaded: Loaded, cause: Cause, cv: HeldCv | None) -> Handled:
        claim = self.keeper.claim(claim_name(loaded.application.id))
        since = asyncio.get_running_loop().time()
        try:
            with self.watcher.at_work():
                started = await self.tools.commands.start(loaded, cause, claim)
                return await self._run(started, cause, claim, since, cv)
        except ClaimedElsewhere:
            return Handled.CLAIMED
        except Conflict:
            return Handled.NOTHING  # queued again meanwhile: a newer message follows

    async def _run(self, started: Loaded, cause: Cause, claim: Claim, since: float, cv: HeldCv | None) -> Handled:
        run = ApplicationRun(self.tools, started, cause, claim, cv)
        try:
            async with self.keeper.keep(claim.name, since), self.watcher.running(run):
                if not started.application.ended:  # the start itself may have ended it, and given the claim back
                    await run.work()
        except ClaimLost:
            run.give_back()
            return Handled.CLAIMED
        except Exception:
            await self._release(claim)
            raise
        if not run.claim_released:
            await self._release(claim)
        return _outcome(run.loaded.application)

    async def _release(self, claim: Claim) -> None:
        with contextlib.suppress(StoreError):  # then it runs out
            await self.claims.release(claim)


def _nothing_to_do(application: Application, version: int | None) -> bool:
    """It has ended, or a newer message follows (contract messaging.md 3)."""
    return application.ended or (version is not None and version < application.queued_version)


def _outcome(application: Application) -> Handled:
    match application.status:
        case Status.SUCCESS:
            return Handled.SUCCESS
        case Status.FAILED:
            return Handled.FAILED
        case Status.CANCELLED:
            return Handled.NOTHING
        case _:
            return Handled.WAITING


class Watcher(Protocol):
    """Who is told of the runs of a worker."""

    def at_work(self) -> AbstractContextManager[None]:
        """Around all that must not be cancelled as if it only waited: from before the start is appended, which may get
        into the log all the same, to the end of its run.
        """

    def running(self, run: ApplicationRun) -> AbstractAsyncContextManager[None]:
        """Around a run, from its start to its end."""
