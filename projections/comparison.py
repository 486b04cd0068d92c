"""Two builds of a read model, document by document and byte for byte, at one position.

The live one is read in a snapshot, so that it stands still while it goes on; the database keeps a snapshot for five
minutes. Both are read in the order of their ids, so it takes the same memory however many there are.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument

from domain.errors import ReadModelBehind
from infra.mongo import ClientSession, Mongo, mongo_errors
from projections.registry import CHECKPOINT
from projections.view import BuildName

AT_ONCE = 2_000
LISTED = 100  # differences; all are counted
RAW = CodecOptions(document_class=RawBSONDocument)
END = "\U0010ffff"  # sorts after every id

Raw = tuple[str, RawBSONDocument | None]  # an id and its document; None at the end


class Kind(StrEnum):
    MISSING = "missing"  # the log gives it, the live build lacks it
    UNEXPECTED = "unexpected"  # the live build has it, the log does not give it
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Difference:
    """`fields` are those that differ."""

    id: str
    kind: Kind
    fields: Sequence[str] = ()


@dataclass(slots=True)
class Comparison:
    """What two builds have in common. The checksums are of all documents, in the order of their ids."""

    live: BuildName
    position: int
    documents: int = 0  # of the live build
    count: int = 0  # of differences
    listed: list[Difference] = field(default_factory=list)
    checksum: str = ""  # of the live build
    expected_checksum: str = ""

    @property
    def equal(self) -> bool:
        return self.count == 0 and self.checksum == self.expected_checksum

    def add(self, difference: Difference) -> None:
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append(difference)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A build as it is at one moment, and its position then."""

    mongo: Mongo
    session: ClientSession
    build: BuildName
    position: int

    async def compare(self, other: BuildName, told: Callable[[int], None] = lambda _: None) -> Comparison:
        """With one that nobody writes, at the same position. `told`: how many documents have been compared."""
        found = Comparison(self.build, self.position)
        live, expected = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        ours, theirs = _documents(self.mongo, self.build, self.session), _documents(self.mongo, other)
        ours_id, our = await anext(ours)
        theirs_id, their = await anext(theirs)
        while our is not None or their is not None:
            if ours_id < theirs_id:
                found.add(Difference(ours_id, Kind.UNEXPECTED))
            elif theirs_id < ours_id:
                found.add(Difference(theirs_id, Kind.MISSING))
            elif our is not None and their is not None and our.raw != their.raw:
                found.add(Difference(ours_id, Kind.DIFFERENT, fields_that_differ(our, their)))
            goes_on, they_go_on = ours_id <= theirs_id, theirs_id <= ours_id
            if our is not None and goes_on:
                live.update(our.raw)
                found.documents += 1
                ours_id, our = await anext(ours)
            if their is not None and they_go_on:
                expected.update(their.raw)
                theirs_id, their = await anext(theirs)
            if found.documents % AT_ONCE == 0:
                told(found.documents)
        found.checksum, found.expected_checksum = live.hexdigest(), expected.hexdigest()
        return found


@asynccontextmanager
async def open_snapshot(mongo: Mongo, build: BuildName) -> AsyncIterator[Snapshot]:
    """Raises ReadModelBehind for a build that is not there, and what `mongo_errors` does."""
    with mongo_errors():
        session = await mongo.client.start_session(snapshot=True)
    try:
        with mongo_errors():
            checkpoint = await mongo.database[str(build)].find_one({"_id": CHECKPOINT}, session=session)
        if checkpoint is None:
            raise ReadModelBehind(f"The build {build} is being made anew")
        yield Snapshot(mongo, session, build, int(checkpoint["position"]))
    finally:
        await session.end_session()


async def _documents(mongo: Mongo, build: BuildName, session: ClientSession | None = None) -> AsyncIterator[Raw]:
    """All but the checkpoint, in the order of their ids; then the end, for ever."""
    with mongo_errors():
        collection: Any = mongo.database.get_collection(str(build), codec_options=RAW)
        cursor = collection.find({"_id": {"$ne": CHECKPOINT}}, session=session, hint="_id_", batch_size=AT_ONCE)
        cursor = cursor.sort("_id", 1)
        while page := await cursor.to_list(AT_ONCE):
            for one in page:
                yield one["_id"], one
    while True:
        yield END, None


def fields_that_differ(our: RawBSONDocument, their: RawBSONDocument) -> Sequence[str]:
    """Their names, for people."""
    names = dict.fromkeys(chain(our.keys(), their.keys()))
    return tuple(name for name in names if our.get(name) != their.get(name)) or ("the order of its fields",)
