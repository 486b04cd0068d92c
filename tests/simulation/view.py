"""The store of the read models in memory: a `projections.view.View`.

Documents are kept as BSON, as MongoDB keeps them. A call may fail before it has done anything, or after; a commit may
also be done only later, unless its lease has gone to somebody else by then.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

import bson
from bson.codec_options import CodecOptions

from domain.errors import StoreTimeout, StoreUnavailable
from projections.parked import PREFIX
from projections.read_model import Document, ReadModel
from projections.view import Advance, BuildName, Fenced, Lease, Refused
from tests.simulation.chances import Chances
from tests.simulation.loop import OUTSIDE, SimLoop

AS_MONGODB: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)


@dataclass(slots=True)
class Build:
    position: int = 0
    token: int = 0
    holder: str | None = None
    until: float = -1.0
    decided: int = 0
    docs: dict[str, bytes] = field(default_factory=dict)

    def document(self, id: str) -> Document:
        return bson.decode(self.docs[id], AS_MONGODB)

    @property
    def documents(self) -> dict[str, Document]:
        return {id: self.document(id) for id in self.docs}


@dataclass(slots=True)
class ViewServer:
    """What all processes share. `committed` is called after each commit."""

    loop: SimLoop
    chances: Chances
    models: Sequence[ReadModel]
    away: bool = False
    builds: dict[BuildName, Build | None] = field(default_factory=dict)  # None: its collection is not there
    live: dict[tuple[str, int], int | None] = field(default_factory=dict)
    committed: Callable[[BuildName], None] = lambda build: None

    def drop(self, build: BuildName) -> None:
        self.builds[build] = None

    def live_build(self, model: str) -> Build | None:
        for build, content in self.builds.items():
            if build.model == model and self.live.get((build.model, build.version)) == build.number:
                return content
        return None


@dataclass(slots=True)
class SimView:
    """`View` of one process; `holder` names it, and no other ever."""

    server: ViewServer
    holder: str
    lease_seconds: float

    async def builds(self) -> Mapping[BuildName, bool]:
        await self._call()
        server = self.server
        for model in server.models:
            if (model.NAME, model.VERSION) not in server.live:
                server.live[model.NAME, model.VERSION] = None
                server.builds[BuildName(model.NAME, model.VERSION, 1)] = None
        return {build: server.live[build.model, build.version] == build.number for build in server.builds}

    async def take(self, build: BuildName) -> Lease | None:
        await self._call()
        server = self.server
        content = server.builds[build]
        if content is None:
            if server.live[build.model, build.version] == build.number:
                server.live[build.model, build.version] = None
            content = server.builds[build] = Build()
        if content.holder != self.holder and content.until >= server.loop.time():
            return None
        content.token += 1
        content.holder = self.holder
        self._renew(content)
        lease = Lease(build, content.token, content.position, parked_in(content), content.decided)
        await self._answer()
        return lease

    async def renew(self, lease: Lease) -> bool:
        await self._call()
        content = self._held(lease)
        if content is not None:
            self._renew(content)
        await self._answer()
        return content is not None

    async def release(self, lease: Lease) -> None:
        await self._call()
        if (content := self._held(lease)) is not None:
            content.holder, content.until = None, self.server.loop.time()

    async def load(self, build: BuildName, ids: Sequence[str]) -> dict[str, Document]:
        await self._call()
        content = self.server.builds[build] or Build()
        return {id: content.document(id) for id in ids if id in content.docs}

    async def commit(self, advances: Sequence[Advance]) -> None:
        await self._call()
        for advance in advances:
            if not self._may_commit(advance):
                raise Fenced(advance.lease.build)
        changes = [_encoded(advance) for advance in advances]
        if self.server.chances.happens():
            seconds = self.server.chances.random.uniform(0.01, 1.0)
            self.server.loop.call_later(seconds, self._commit_late, advances, changes, context=OUTSIDE)
            raise StoreTimeout("MongoDB did not answer in time")
        self._apply(advances, changes)
        await self._answer()

    async def go_live(self, build: BuildName) -> None:
        await self._call()
        if self.server.live[build.model, build.version] is None and self.server.builds[build] is not None:
            self.server.live[build.model, build.version] = build.number
        await self._answer()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _call(self) -> None:
        """On its way to the server."""
        await asyncio.sleep(self.server.chances.latency())
        if self.server.away or self.server.chances.happens():
            raise StoreUnavailable("MongoDB cannot be reached")

    async def _answer(self) -> None:
        """On its way back: what was asked is done."""
        if self.server.chances.happens():
            raise StoreUnavailable("MongoDB cannot be reached")

    def _renew(self, content: Build) -> None:
        content.until = self.server.loop.time() + self.lease_seconds

    def _held(self, lease: Lease) -> Build | None:
        content = self.server.builds[lease.build]
        return content if content and (content.holder, content.token) == (self.holder, lease.token) else None

    def _may_commit(self, advance: Advance) -> bool:
        content = self._held(advance.lease)
        return content is not None and content.position == advance.lease.position

    def _commit_late(self, advances: Sequence[Advance], changes: Sequence[dict[str, bytes | None]]) -> None:
        if not self.server.away and all(self._may_commit(advance) for advance in advances):
            self._apply(advances, changes)

    def _apply(self, advances: Sequence[Advance], changes: Sequence[dict[str, bytes | None]]) -> None:
        for advance, changed in zip(advances, changes, strict=True):
            content = self.server.builds[advance.lease.build]
            assert content is not None, "it may be committed"
            for id, document in changed.items():
                if document is None:
                    content.docs.pop(id, None)
                else:
                    content.docs[id] = document
            if advance.lease.position == 0:
                content.decided = advance.lease.decided
            content.position = advance.position
            self._renew(content)
        for advance in advances:
            self.server.committed(advance.lease.build)


def parked_in(content: Build) -> dict[str, int]:
    """Streams, and the position of the event at which each waits."""
    parked = [content.document(id) for id in content.docs if id.startswith(PREFIX)]
    return {document["stream"]: document["position"] for document in parked}


def _encoded(advance: Advance) -> dict[str, bytes | None]:
    try:
        written = {doc["_id"]: bson.encode(doc) for doc in [*advance.inserted, *advance.replaced]}
    except (bson.errors.BSONError, OverflowError) as error:
        raise Refused(str(error)) from error
    return {**written, **dict.fromkeys(advance.removed)}
