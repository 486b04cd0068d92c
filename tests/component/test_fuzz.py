"""The short form of `make fuzz`: some 700 requests made of the OpenAPI document, half of them bad (`tests/fuzz`)."""

from pathlib import Path

from tests.fuzz.run import fuzz, service_for, troubles


async def test_every_answer_is_one_that_the_document_tells(
    tmp_path: Path, mongodb_uri: str, mongo_database: str, rabbitmq_url: str
) -> None:
    service = service_for(tmp_path, mongodb=mongodb_uri, database=mongo_database, rabbitmq=rabbitmq_url)
    async with service.running() as client:
        fuzzed = await fuzz(service, client, examples=2, seed=1)
        assert fuzzed.passed, fuzzed.told
        assert fuzzed.cases > 500, fuzzed.told
        assert not await troubles(service, client)
