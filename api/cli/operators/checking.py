"""`projections verify`: what is chosen, and what was found, as a document (contract cli.md 5)."""

import random
from collections.abc import Sequence
from typing import Any

import typer

from api.cli.ending import CommandFailed
from api.cli.operators.stores import Stores, Work
from api.cli.progress import Bars, bars
from infra.clock import SystemClock
from projections import totals
from projections.beside import BuildInUse, BuildStopped
from projections.comparison import Comparison
from projections.read_model import ReadModel
from projections.read_models import READ_MODELS
from projections.sampling import CannotBeSampled, verify_sample
from projections.standing import build_standings
from projections.verify import Workplace
from projections.verify import verify as verifying


def chosen(names: Sequence[str] | None, all_: bool, *, sampled: bool = False) -> Sequence[ReadModel]:
    """The read models of these names; all but those that no sample can tell of. Raises BadParameter."""
    known = {model.NAME: model for model in READ_MODELS}
    if unknown := sorted(set(names or ()) - known.keys()):
        raise typer.BadParameter(f"there is no read model {', '.join(unknown)}; there are {', '.join(known)}")
    if bool(names) is all_:
        raise typer.BadParameter("name read models, or say --all")
    if all_:
        return [model for model in READ_MODELS if not sampled or model is not totals]
    return [model for name, model in known.items() if name in (names or ())]


def workplace(stores: Stores, tell: Bars) -> Workplace:
    clock = SystemClock()
    holder = clock.new_id(clock.now()).hex
    return Workplace(stores.log, stores.mongo, holder, stores.settings.claim_seconds, tell)


async def check_that_they_belong_together(stores: Stores) -> None:
    """A read model that is ahead of the log was made from another one. Raises CommandFailed."""
    head = await stores.log.head()
    for one in await build_standings(stores.mongo):
        if one.position > head:
            raise CommandFailed(
                f"{one.build} stands at position {one.position}, but the log ends at {head}: "
                "EVENT_STORE and MONGODB do not belong together"
            )


def check(models: Sequence[ReadModel], sample: int | None) -> Work[dict[str, Any]]:
    """All documents, or those of the streams of so many events, chosen by chance."""

    def choose(head: int) -> Sequence[int]:
        return random.sample(range(1, head + 1), min(sample or 0, head))

    async def work(stores: Stores) -> dict[str, Any]:
        await check_that_they_belong_together(stores)
        with bars() as tell:
            try:
                at = workplace(stores, tell)
                found = await (verifying(at, models) if sample is None else verify_sample(at, models, choose))
            except (BuildInUse, BuildStopped, CannotBeSampled) as error:
                raise CommandFailed(str(error)) from error
        return {"equal": all(one.equal for one in found), "data": [told(one) for one in found]}

    return work


def told(one: Comparison) -> dict[str, Any]:
    return {
        "name": one.live.model,
        "build": str(one.live),
        "position": one.position,
        "documents": one.documents,
        "differences": one.count,
        "checksum": one.checksum or None,
        "expected_checksum": one.expected_checksum or None,
        "listed": [{"id": each.id, "kind": each.kind, "fields": list(each.fields)} for each in one.listed],
    }
