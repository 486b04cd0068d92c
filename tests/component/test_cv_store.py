"""CVs in a real MongoDB: stored once however often they are sent, and removed only when nobody names them."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from infra.cv_store import COLLECTION, CvStore, old_and_unused
from infra.mongo import Mongo

PDF = b"%PDF-1.7 Ada's life"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def cvs(mongo: Mongo) -> CvStore:
    return CvStore(mongo)


async def make_old(mongo: Mongo, *ids: str) -> None:
    await mongo.database[COLLECTION].update_many({"_id": {"$in": ids}}, {"$set": {"stored_at": LONG_AGO}})


async def stored(mongo: Mongo) -> dict[str, Any]:
    return {one["_id"]: one async for one in mongo.database[COLLECTION].find()}


class Names:
    """Which CVs are named, and who asked about which."""

    def __init__(self, *named: str, known: bool = True) -> None:
        self.named, self.known = set(named), known
        self.asked: list[str] = []

    async def __call__(self, ids: Sequence[str]) -> set[str] | None:
        self.asked += ids
        return self.named & set(ids) if self.known else None


async def test_a_cv_is_read_back_as_it_was_stored(cvs: CvStore) -> None:
    cv = await cvs.put("ada", PDF)
    assert (cv.size, cv.sha256) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    assert await cvs.read(cv.id) == PDF
    assert await cvs.read("unknown") is None


async def test_the_largest_cv_fits(cvs: CvStore) -> None:
    large = b"%PDF-" + bytes(15 * 1024 * 1024 - 5)
    assert await cvs.read((await cvs.put("ada", large)).id) == large


async def test_the_same_file_of_a_user_is_one_document(mongo: Mongo, cvs: CvStore) -> None:
    sent = await asyncio.gather(*(cvs.put("ada", PDF) for _ in range(20)))
    assert len({cv.id for cv in sent}) == 1
    assert list(await stored(mongo)) == [sent[0].id]


async def test_of_two_users_it_is_two_and_the_id_tells_neither(mongo: Mongo, cvs: CvStore) -> None:
    one, other = await cvs.put("ada", PDF), await cvs.put("bob", PDF)
    assert one.id != other.id
    assert "ada" not in one.id
    assert len(await stored(mongo)) == 2


async def test_stored_again_it_is_new_again(mongo: Mongo, cvs: CvStore) -> None:
    cv = await cvs.put("ada", PDF)
    await make_old(mongo, cv.id)
    await cvs.put("ada", PDF)
    age = datetime.now(UTC) - (await stored(mongo))[cv.id]["stored_at"]
    assert age < timedelta(minutes=1)


async def test_one_that_nobody_names_is_removed_when_it_is_old(mongo: Mongo, cvs: CvStore) -> None:
    unnamed, named, new = [await cvs.put("ada", PDF + bytes([n])) for n in range(3)]
    await make_old(mongo, unnamed.id, named.id)
    assert await cvs.remove_unused(DAY, Names(named.id, new.id)) == 1
    assert set(await stored(mongo)) == {named.id, new.id}


async def test_its_age_is_by_the_servers_clock(mongo: Mongo, cvs: CvStore) -> None:
    old, new = [await cvs.put("ada", PDF + bytes([n])) for n in range(2)]
    for cv, age in ((old, timedelta(minutes=61)), (new, timedelta(minutes=59))):
        aged = {"$set": {"stored_at": {"$subtract": ["$$NOW", age // timedelta(milliseconds=1)]}}}
        await mongo.database[COLLECTION].update_one({"_id": cv.id}, [aged])
    names = Names()
    assert await cvs.remove_unused(timedelta(hours=1), names) == 1
    assert names.asked == [old.id]
    assert list(await stored(mongo)) == [new.id]


async def test_those_that_are_old_are_found_by_an_index(mongo: Mongo, cvs: CvStore) -> None:
    await cvs.put("ada", PDF)
    await cvs.prepare()
    plan = await mongo.database[COLLECTION].find(old_and_unused(DAY)).explain()
    assert '"indexName":"unused"' in orjson.dumps(plan, default=str).decode()
    assert plan["executionStats"]["totalDocsExamined"] == 0


async def test_one_that_was_named_is_not_asked_about_again(mongo: Mongo, cvs: CvStore) -> None:
    cv = await cvs.put("ada", PDF)
    await make_old(mongo, cv.id)
    for expected in ([cv.id], []):
        names = Names(cv.id)
        assert await cvs.remove_unused(DAY, names) == 0
        assert names.asked == expected
        await cvs.put("ada", PDF)  # also not after it came again
        await make_old(mongo, cv.id)


async def test_nothing_is_removed_while_nobody_can_tell(mongo: Mongo, cvs: CvStore) -> None:
    cv = await cvs.put("ada", PDF)
    await make_old(mongo, cv.id)
    before = await stored(mongo)
    assert await cvs.remove_unused(DAY, Names(known=False)) == 0
    assert await stored(mongo) == before, "nor is it marked"


async def test_one_that_is_stored_again_while_it_is_looked_at_stays(mongo: Mongo, cvs: CvStore) -> None:
    cv = await cvs.put("ada", PDF)
    await make_old(mongo, cv.id)

    async def meanwhile(ids: Sequence[str]) -> set[str]:
        await cvs.put("ada", PDF)
        return set()

    assert await cvs.remove_unused(DAY, meanwhile) == 0
    assert await cvs.read(cv.id) == PDF


async def test_any_number_is_removed_in_steps(mongo: Mongo, cvs: CvStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.cv_store.CANDIDATES_AT_ONCE", 3)
    sent = [await cvs.put("ada", PDF + bytes([n])) for n in range(10)]
    await make_old(mongo, *(cv.id for cv in sent))
    names = Names(*(cv.id for cv in sent[::2]))
    assert await cvs.remove_unused(DAY, names) == 5
    assert set(await stored(mongo)) == {cv.id for cv in sent[::2]}
    assert sorted(names.asked) == sorted(cv.id for cv in sent)
