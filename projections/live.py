"""The live build of each read model, and how far it is: where a read looks, and what it waits for."""

import asyncio
from collections.abc import Mapping, Sequence

from domain.errors import ReadModelBehind
from infra.coalesce import Coalescer
from infra.mongo import Mongo, mongo_errors
from projections.read_model import Document
from projections.read_models import READ_MODELS
from projections.registry import BUILDS, CHECKPOINT, SUPERSEDED
from projections.view import BuildName

KNOWN_SECONDS = 1.0  # a build that was live stays current for minutes after a switch
UNKNOWN_SECONDS = 0.05
POLL_SECONDS = 0.01

VERSIONS: Mapping[str, int] = {model.NAME: model.VERSION for model in READ_MODELS}
REGISTERED = {"_id": {"$in": [f"{model}.{version}" for model, version in VERSIONS.items()]}}


def live_builds(found: Sequence[Document]) -> Mapping[str, BuildName]:
    """By model, from what is registered. One whose live build is being made anew is not in it."""
    live = {one["_id"]: one["live"] for one in found if one["live"] is not None}
    return {
        model: BuildName(model, version, live[f"{model}.{version}"])
        for model, version in VERSIONS.items()
        if f"{model}.{version}" in live
    }


class Superseded(Exception):
    """A build was read that is no longer live. What it shows may be older than what another reader has been shown."""

    def __init__(self, build: BuildName) -> None:
        super().__init__(f"{build} is no longer live")
        self.build = build


def position_in(checkpoint: Document | None, build: BuildName) -> int:
    """The position in a live build's checkpoint. Raises ReadModelBehind without one, Superseded after a switch."""
    if checkpoint is None:
        raise ReadModelBehind(f"The read model {build.model} is being built")
    if SUPERSEDED in checkpoint:
        raise Superseded(build)
    return int(checkpoint["position"])


class LiveBuilds:
    """Asked of the database once a second, and when a read has met a build that is no longer live."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._names: Mapping[str, BuildName] = {}
        self._asked_again_at = 0.0
        self._asking: Coalescer[str, BuildName] = Coalescer(self._ask, at_once=1, name="read live build")

    async def of(self, model: str) -> BuildName:
        """Raises ReadModelBehind while none is live."""
        build = await self.find(model)
        if build is None:
            raise ReadModelBehind(f"The read model {model} is being built")
        return build

    async def find(self, model: str) -> BuildName | None:
        if asyncio.get_running_loop().time() < self._asked_again_at:
            return self._names.get(model)
        return await self._asking.get(model)

    async def position(self, model: str) -> int | None:
        """None while no build is live, or when its collection was dropped."""
        build = await self.find(model)
        if build is None:
            return None
        with mongo_errors():
            fields = {"position": True, SUPERSEDED: True}
            checkpoint = await self._mongo.snapshot(str(build)).find_one({"_id": CHECKPOINT}, fields)
        if checkpoint is not None and SUPERSEDED in checkpoint:
            self.forget(build)  # it is kept current for a while, so its position will do
        return None if checkpoint is None else int(checkpoint["position"])

    def forget(self, build: BuildName) -> None:
        """It is no longer live: the next call asks."""
        if self._names.get(build.model) == build:
            self._asked_again_at = 0.0

    async def _ask(self, _: Sequence[str]) -> Mapping[str, BuildName]:
        with mongo_errors():
            found = await self._mongo.database[BUILDS].find(REGISTERED).to_list(None)
        self._names = live_builds(found)
        seconds = KNOWN_SECONDS if len(self._names) == len(VERSIONS) else UNKNOWN_SECONDS
        self._asked_again_at = asyncio.get_running_loop().time() + seconds
        return self._names


class PositionWatch:
    """Waits until a read model has reached a position. All who wait for one model share one look at it."""

    def __init__(self, live: LiveBuilds, model: str) -> None:
        self._live, self._model = live, model
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._looking: asyncio.Task[None] | None = None

    async def reach(self, position: int, seconds: float) -> None:
        """Raises ReadModelBehind after that time, and what the database raises."""
        reached = asyncio.get_running_loop().create_future()
        self._waiting[reached] = position
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await reached
        except TimeoutError:
            raise ReadModelBehind(f"The read model {self._model} has not reached position {position}") from None
        finally:
            self._waiting.pop(reached, None)

    async def _look(self) -> None:
        try:
            while self._waiting:
                at = await self._live.position(self._model) or 0
                for reached, position in list(self._waiting.items()):
                    if position <= at and not reached.done():
                        reached.set_result(None)
                waiting = [reached for reached in self._waiting if not reached.done()]
                if waiting:
                    await asyncio.wait(waiting, timeout=POLL_SECONDS)
        except Exception as error:
            for reached in self._waiting:
                if not reached.done():
                    reached.set_exception(error)
        finally:
            self._looking = None
