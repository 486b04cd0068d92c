"""The main job: applications go in, are processed by a real worker, and come out as applied or failed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.end_to_end.service import Client, Service
from tests.pdfs import MARY, a_pdf


@pytest.fixture
async def client(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str, event_store_url: str
) -> AsyncIterator[Client]:
    service = Service.on(
        tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url, event_store=event_store_url
    )
    async with service.running() as client:
        yield client


async def test_applications_come_out_as_applied_or_failed(client: Client) -> None:
    applied = await client.submit("Baker", cv=a_pdf(MARY), style="modern")
    refused = await client.submit("Miller [reject]")
    tried_again = await client.submit("Cook [fail:2]")
    both = await client.submit("Waiter", "Porter [reject]")

    ended = await client.all_ended([applied, refused, tried_again, both])
    assert ended == {applied: "success", refused: "failed", tried_again: "success", both: "failed"}
    listed, failed = await client.entries("/applied"), await client.entries("/fail_applied")
    assert set(listed) == {applied, tried_again, f"{both}-1"}
    assert set(failed) == {refused, f"{both}-2"}
    assert failed[refused]["error_reason"] == "Position closed"

    documents = await client.get(f"/applied/{applied}")
    assert documents["resume_optimized"]
    assert documents["cover_letter"]
    summary = await client.portal("/summary")
    assert (summary["taken"], summary["taken_twice"]) == (3, 0)
