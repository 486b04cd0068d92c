"""The store of the read models, as the projector sees it: builds, their leases, their documents.

A build is one copy of a read model, named by model, schema version in the code and build number: `status.1.2`. It has a
checkpoint: the position up to which its documents hold the log, and a lease: one process projects it, others stand by.
Each lease has a token, which the store compares in every commit: who was replaced commits nothing more (it is fenced).
Of the builds of one schema version one is live: the one that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from projections.read_model import Document


@dataclass(frozen=True, slots=True, order=True)
class BuildName:
    model: str
    version: int
    number: int

    def __str__(self) -> str:
        return f"{self.model}.{self.version}.{self.number}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to project a build, until it runs out or somebody else takes it; `token` is its fence.

    `parked`: streams, as hexadecimal ids, and the position of the event at which each waits. `decided`: the position of
    the last decision that was known when the build began, 0 if there was none (`projections/decisions.py`).
    """

    build: BuildName
    token: int
    position: int
    parked: Mapping[str, int] = field(default_factory=dict)
    decided: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """What one commit changes in a build: its documents, and its checkpoint with them."""

    lease: Lease
    position: int  # the new one
    inserted: Sequence[Document] = ()
    replaced: Sequence[Document] = ()
    removed: Sequence[str] = ()
    parked: Mapping[str, int] | None = None  # None: as before
    stopped: str | None = None  # why the model cannot go on

    @property
    def after(self) -> Lease:
        """The lease once this is committed."""
        parked = self.lease.parked if self.parked is None else self.parked
        return replace(self.lease, position=self.position, parked=parked)

    @property
    def newly_parked(self) -> Mapping[str, int]:
        before = self.lease.parked
        return {stream: event for stream, event in self.after.parked.items() if before.get(stream) != event}


class Fenced(Exception):
    """The lease of this build is no longer ours, or its collection was dropped. Nothing was committed."""

    def __init__(self, build: BuildName) -> None:
        super().__init__(f"{build} is projected by another process, or was dropped")
        self.build = build


class Refused(Exception):
    """The store refuses one of the documents. Nothing was committed."""


class View(Protocol):
    """Where builds are kept. Besides what is told, all methods raise StoreUnavailable, StoreTimeout, StoreFailed.

    After any of those a commit may have been done: take the lease anew, its position tells.
    """

    async def builds(self) -> Mapping[BuildName, bool]:
        """Every build of this release's schema versions, and whether it is live. Registers the first of each model."""

    async def take(self, build: BuildName) -> Lease | None:
        """The lease, with a new token: it was free, had run out, or was ours. None while another process has it.

        Makes the collection with its indexes when it is missing: it then begins at position 0, and is not live.
        """

    async def renew(self, lease: Lease) -> bool:
        """False when it is no longer ours."""

    async def release(self, lease: Lease) -> None:
        """Gives it back, so that another process need not wait for its end."""

    async def load(self, build: BuildName, ids: Sequence[str]) -> dict[str, Document]:
        """The documents of these ids, those that there are."""

    async def commit(self, advances: Sequence[Advance]) -> None:
        """All of them, or nothing, durably; renews the leases. Raises Fenced or Refused."""

    async def go_live(self, build: BuildName) -> None:
        """It has caught up: it is read from now on, unless another build of its schema version is."""
