"""A quick check: some events of the log, and all documents of their streams, against the live read models.

Each stream is folded by itself, with the streams of its batch if it is an item of one. What a stream does not give, a
sample does not find; nor can it tell of a model that counts over all of them. Streams on which an operator has decided,
or must, are left out: `projections/verify.py` looks at all of it.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import bson
from bson.raw_bson import RawBSONDocument

from domain.batch import BatchSubmitted
from domain.event import RecordedEvent
from domain.parked_decisions import decided, decisions_stream
from infra.mongo import mongo_errors
from projections import totals
from projections.comparison import RAW, Comparison, Difference, Kind, Snapshot, fields_that_differ, open_snapshot
from projections.parked import parked_id
from projections.read_model import Document, ReadModel
from projections.verify import Workplace
from projections.view import BuildName

Choose = Callable[[int], Sequence[int]]  # positions, of those from 1 to the head


class CannotBeSampled(Exception):
    """The read model counts over all streams."""


async def verify_sample(at: Workplace, models: Sequence[ReadModel], choose: Choose) -> Sequence[Comparison]:
    """Of each model, in their order; without checksums. Raises CannotBeSampled, ReadModelBehind and StoreErrors."""
    if any(model.NAME == totals.NAME for model in models):
        raise CannotBeSampled(f"{totals.NAME} counts over the whole log: it cannot be sampled")
    return [
        await _compare(at, model, build, choose)
        for model, build in zip(models, await at.live_builds(models), strict=True)
    ]


async def _compare(at: Workplace, model: ReadModel, build: BuildName, choose: Choose) -> Comparison:
    step = at.tell.stage(f"Sampling {model.NAME}", 0, 0)
    on = {stream for stream, _ in decided(await at.log.read_stream(decisions_stream(model.NAME)))}
    async with open_snapshot(at.mongo, build) as snapshot:
        found = Comparison(build, snapshot.position)
        for number, position in enumerate(choose(snapshot.position), 1):
            [recorded] = await at.log.read(position - 1, 1)
            story = [one for one in await _story(at, recorded) if one.position <= snapshot.position]
            if not on & {one.stream_id.hex for one in story}:
                await _compare_story(snapshot, model, story, found)
            step(number)
    return found


async def _story(at: Workplace, recorded: RecordedEvent) -> Sequence[RecordedEvent]:
    """All events of its stream, and of the others of its batch, in the log's order."""
    owner = recorded.metadata.owner
    first = recorded.stream_id if owner is None or owner.batch_id is None else owner.batch_id
    events = list(await at.log.read_stream(first))
    items: list[UUID] = [
        id for one in events if isinstance(one.event, BatchSubmitted) for id in one.event.application_ids
    ]
    for id in items:
        events += await at.log.read_stream(id)
    return sorted(events, key=lambda one: one.position)


async def _compare_story(
    snapshot: Snapshot, model: ReadModel, story: Sequence[RecordedEvent], found: Comparison
) -> None:
    expected: dict[str, Document] = {}
    ids: dict[str, None] = {}
    for one in story:
        ids.update(dict.fromkeys(model.touches(one)))
        model.apply(one, expected)
    parked = [parked_id(stream) for stream in {one.stream_id.hex for one in story}]
    with mongo_errors():
        collection: Any = snapshot.mongo.database.get_collection(str(snapshot.build), codec_options=RAW)
        query = {"_id": {"$in": [*ids, *parked]}}
        live = {one["_id"]: one async for one in collection.find(query, session=snapshot.session)}
    if live.keys() & set(parked):
        return
    for id in ids:
        ours, theirs = live.get(id), expected.get(id)
        found.documents += ours is not None
        if ours is None and theirs is not None:
            found.add(Difference(id, Kind.MISSING))
        elif ours is not None and theirs is None:
            found.add(Difference(id, Kind.UNEXPECTED))
        elif ours is not None and theirs is not None and ours.raw != (raw := bson.encode(theirs)):
            found.add(Difference(id, Kind.DIFFERENT, fields_that_differ(ours, RawBSONDocument(raw))))
