"""Bugs that are put into the real code while it is imported, to see that the simulation or a test finds them.

Each is a small change of one module, of the kind that a tired engineer makes. Whoever changes the code that is named
here changes the entry with it: an entry that does not fit any more is an error.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

VARIABLE = "PLANTED"  # names the bug for a process of pytest, which loads this module as a plugin


@dataclass(frozen=True, slots=True)
class Bug:
    """`old` stands once in the module. Found within so many `seeds`, or by the tests that are named."""

    name: str
    module: str
    old: str
    new: str
    seeds: int = 0
    tests: Sequence[str] = ()


BUGS = (
    Bug(
        "a message is acknowledged before what follows is in the log",
        "consumers.worker",
        "            while not await self._done(delivery, work):",
        "            await consumer.acknowledge(delivery)\n            while not await self._done(delivery, work):",
        seeds=50,
    ),
    Bug(
        "a message with the newest version counts as overtaken",
        "consumers.processing",
        "version < application.queued_version)",
        "version <= application.queued_version)",
        seeds=50,
    ),
    Bug(
        "a checkpoint passes what is not confirmed",
        "consumers.followers",
        "return oldest.position - 1 if oldest else self.passed",
        "return self.passed",
        seeds=100,
    ),
    Bug(
        "what is due later is passed and not kept",
        "consumers.followers",
        "            self.ledger.keep(parcel.message)\n",
        "            pass\n",
        seeds=50,
    ),
    Bug(
        "a due message is forgotten when it is sent",
        "consumers.followers",
        "            await self.lane.put(Parcel(message, 0, uuid4(), message.due_at))",
        "            await self.lane.put(Parcel(message, 0, uuid4(), message.due_at))\n"
        "            self.ledger._due_published.append(message.message_id)",
        seeds=200,
    ),
    Bug(
        "what was refused is not sent again",
        "consumers.lane",
        "        for parcel in self._in_hand.values():\n            self._line_up(parcel)",
        "        self._in_hand.clear()",
        seeds=100,
    ),
    Bug(
        "a refused message is overtaken by the next of its application",
        "consumers.lane",
        "        if parcel.stream_id in self._next_of:",
        "        if False:",
        seeds=200,
    ),
    Bug(
        "the relay writes without its lease",
        "infra.relay_store",
        "        if not holds(session, LEASE, self._holder):",
        "        if False:",
        tests=("tests/component/consumers/test_relay_store.py",),
    ),
    Bug(
        "a claim is not asked for",
        "infra.group_commit",
        "if waiting.take is None or leases.take(session, waiting.take):",
        "if True:",
        tests=("tests/contract/test_event_log.py",),
    ),
    Bug(
        "a commit of unknown outcome counts as done",
        "infra.group_commit",
        '            return StoreUnavailable("The event store was lost before the commit")',
        "            return 1",
        seeds=200,
    ),
    Bug(
        "an attempt begins though a later start is in the log",
        "domain.application",
        "if not self._runs(start) or not job.open:",
        "if not job.open:",
        tests=("tests/unit/test_application_starts.py",),
    ),
    Bug(
        "a conflict gives a worker the newest start",
        "domain.commands",
        "        return replace(again, start=loaded.start)",
        "        return again",
        tests=("tests/unit/test_commands_under_rivals.py",),
    ),
    Bug(
        "what a dead worker sent without a key is sent again",
        "domain.application",
        "for p, job in self.open_jobs if _may_be_lost(job)\n",
        "for p, job in self.open_jobs if False\n",
        seeds=400,
    ),
    Bug(
        "an unknown outcome without keys is tried again",
        "consumers.outcomes",
        "            if delivery is Delivery.AT_MOST_ONCE:\n                return unknown_outcome(reason, error_type)",
        "            pass",
        seeds=100,
    ),
    Bug(
        "an attempt is not in the log when the portal is called",
        "consumers.application_run",
        "            await self._begin_attempt(position, portal, documents)\n",
        "            pass\n",
        seeds=20,
    ),
    Bug(
        "a job is applied twice in the log",
        "domain.application",
        "        if not job.open and not late:\n            return []\n"
        "        documents = job.documents or Documents()",
        "        documents = job.documents or Documents()",
        seeds=200,
    ),
    Bug(
        "an idempotency key is used in an append of its own",
        "domain.appending",
        "            return await self.log.append(Append([*events, *used], take, release))",
        "            await self.log.append(Append(events, take, release))\n"
        "            return await self.log.append(Append(used))",
        seeds=100,
    ),
    Bug(
        "a reader skips a position",
        "projections.projector",
        "    return await log.read(after, limit)\n",
        "    return await log.read(after + 1, limit)\n",
        tests=("tests/component/test_projector.py",),
    ),
    Bug(
        "the projector passes the last event of a batch unseen",
        "projections.fold",
        "        for step, recorded in self.steps:\n            match step:",
        "        for step, recorded in self.steps[:-1] or self.steps:\n            match step:",
        seeds=20,
    ),
    Bug(
        "a lost lease of a read model is not noticed",
        "projections.mongo_view",
        'return {"_id": CHECKPOINT, "holder": self._holder, "token": lease.token}',
        'return {"_id": CHECKPOINT}',
        tests=("tests/contract/test_view.py",),
    ),
    Bug(
        "a late result of a broken-off run is lost",
        "consumers.application_run",
        "                    self._tools.late.record(lambda: self._settle(settled, position, reference))\n",
        "                    pass\n",
        tests=("tests/unit/test_processing_trouble.py",),
    ),
    Bug(
        "work that waits for a retry counts as stuck",
        "consumers.reconciler",
        "    return max(recorded[-1].metadata.at, *due) < before if due else recorded[-1].metadata.at < before",
        "    return recorded[-1].metadata.at < before",
        tests=("tests/unit/test_reconciler.py",),
    ),
    Bug(
        "nobody looks for what the broker has lost",
        "consumers.reconciler",
        "        if lost <= 0:\n",
        "        if True:\n",
        seeds=1_000,
    ),
)


def bug(name: str) -> Bug:
    return next(one for one in BUGS if one.name == name)


def plant(name: str) -> None:
    """From now on its module is imported with that bug. Raises LookupError when the code has changed."""
    planted = bug(name)
    if planted.module in sys.modules:
        raise LookupError(f"{planted.module} is imported already")
    sys.meta_path.insert(0, Planter(planted))


class Planter(importlib.abc.MetaPathFinder):
    """Finds the module of one bug, with the bug in it."""

    def __init__(self, planted: Bug) -> None:
        self._planted = planted

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._planted.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        loader = _Loader(fullname, spec.origin)
        loader.planted = self._planted
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    planted: Bug

    def path_stats(self, path: str) -> Any:
        raise OSError  # no cached code: neither read nor written

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]
        text = bytes(data).decode()
        if text.count(self.planted.old) != 1:
            raise LookupError(f"{self.planted.module} has changed: {self.planted.name!r} does not fit any more")
        return super().source_to_code(text.replace(self.planted.old, self.planted.new).encode(), path)


if VARIABLE in os.environ:
    plant(os.environ[VARIABLE])
