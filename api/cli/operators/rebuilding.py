"""`projections rebuild` and `rollback`: what they do, and what came of it, as a document (contract cli.md 5)."""

from collections.abc import Awaitable, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from api.cli.ending import CommandFailed
from api.cli.operators.checking import check_that_they_belong_together, chosen, workplace
from api.cli.operators.stores import Stores, Work
from api.cli.progress import bars
from projections import rebuild
from projections.beside import BuildInUse, BuildStopped
from projections.read_model import ReadModel
from projections.rebuild import NothingKept, NotTheLog, Switched
from projections.registry import GRACE_SECONDS, NotCaughtUp, NotLive

__all__ = ["chosen", "rebuilding", "rolling_back"]

DROPPED_LATER = f"dropped in {GRACE_SECONDS / 60:.0f} minutes"
REFUSALS = (BuildInUse, BuildStopped, NotCaughtUp, NothingKept, NotLive, NotTheLog)

T = TypeVar("T")


def rebuilding(models: Sequence[ReadModel], *, keep: bool) -> Work[dict[str, Any]]:
    release = version("application-manager-service")

    async def work(stores: Stores) -> dict[str, Any]:
        await check_that_they_belong_together(stores)
        with bars() as tell:
            switched = await _told(rebuild.rebuild(workplace(stores, tell), models, release, keep=keep))
        return _document(switched, "kept for a roll-back" if keep else DROPPED_LATER)

    return work


def rolling_back(model: ReadModel) -> Work[dict[str, Any]]:
    async def work(stores: Stores) -> dict[str, Any]:
        await check_that_they_belong_together(stores)
        with bars() as tell:
            return _document([await _told(rebuild.roll_back(workplace(stores, tell), model))], DROPPED_LATER)

    return work


async def _told(working: Awaitable[T]) -> T:
    """Raises CommandFailed for what cannot be done."""
    try:
        return await working
    except REFUSALS as error:
        raise CommandFailed(str(error)) from error


def _document(switched: Sequence[Switched], then: str) -> dict[str, Any]:
    """`then`: what becomes of the former builds."""
    return {"data": [_one(one, then) for one in switched]}


def _one(one: Switched, then: str) -> dict[str, Any]:
    compared = one.comparison
    return {
        "name": one.build.model,
        "build": str(one.build),
        "position": one.position,
        "former": str(one.former) if one.former else None,
        "then": then if one.former else None,
        "documents": compared.documents if compared else None,
        "differences": compared.count if compared else None,
        "checksum": compared.expected_checksum if compared else None,
    }
