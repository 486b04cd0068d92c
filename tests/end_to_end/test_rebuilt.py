"""All read-model collections dropped and the projector started again: the same documents, byte for byte."""

from pathlib import Path
from typing import Any

import bson
from pymongo import MongoClient

from tests.end_to_end.service import Client, Service, until


def documents(uri: str, database: str) -> dict[str, dict[Any, bytes]]:
    """All documents of all builds as BSON, but for the checkpoints, which tell who holds the lease."""
    with MongoClient[dict[str, Any]](uri, tz_aware=True) as mongo:
        builds = [name for name in mongo[database].list_collection_names() if name.count(".") == 2]
        assert builds
        return {
            name: {d["_id"]: bson.encode(d) for d in mongo[database][name].find({"_id": {"$ne": "checkpoint"}})}
            for name in builds
        }


def drop_read_models(uri: str, database: str) -> None:
    with MongoClient[dict[str, Any]](uri) as mongo:
        for name in mongo[database].list_collection_names():
            if name != "cvs":
                mongo[database].drop_collection(name)


async def test_dropped_read_models_come_back_the_same(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, event_store_url: str
) -> None:
    service = Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=event_store_url
    )
    async with service.running() as client:
        ids = [await client.submit("Baker"), await client.submit("Miller [reject]", "Cook", "Waiter [fail:1]")]
        await client.all_ended(ids)
        await until(lambda: _settled(client), "the lists are complete")
        await service.stop("projector")
        before = documents(mongodb_uri, mongo_database)
        drop_read_models(mongodb_uri, mongo_database)
        await service.start("projector")
        await until(lambda: _settled(client), "the read models are back")
        await service.stop("projector")
        assert documents(mongodb_uri, mongo_database) == before


async def _settled(client: Client) -> bool:
    if not await client.ready():  # while they are being built it answers 503
        return False
    return len(await client.entries("/applied")) == 3 and len(await client.entries("/fail_applied")) == 1
