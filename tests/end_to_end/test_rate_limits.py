"""Rate limits over several API processes, which are killed and begun again (contract http.md 1.4)."""

import asyncio
from collections import Counter
from pathlib import Path
from uuid import uuid4

from tests.end_to_end.service import Client, Service, token, until
from tests.ports import free_ports

LIMIT = 30


async def test_a_limit_holds_over_two_processes_and_their_death(tmp_path: Path, mongodb_uri: str) -> None:
    service = Service.on(
        tmp_path,
        mongodb=mongodb_uri,
        database=f"test_{uuid4().hex[:12]}",
        rabbitmq="amqp://guest:guest@127.0.0.1:1/",
        event_store=f"sqlite:///{tmp_path}/events.db",
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_REQUESTS=f"{LIMIT}/hour",
    )
    [port] = map(str, free_ports(1))
    async with service.running("api") as one, Client(f"http://127.0.0.1:{port}", "") as other:
        await service.start("api-2", PORT=port)
        await until(other.alive, "the second API is alive")
        seen = Counter(await asyncio.gather(*(status(client) for client in (one, other) * LIMIT)))
        assert seen == {404: LIMIT, 429: LIMIT}
        for role in ("api", "api-2"):
            await service.kill(role)
        await asyncio.gather(service.start("api"), service.start("api-2", PORT=port))
        for client in (one, other):
            await until(client.alive, "the API is alive again")
            assert await status(client) == 429


async def status(client: Client) -> int:
    headers = {"Authorization": f"Bearer {token('ada')}"}
    async with client.http.get(f"{client.url}/nowhere", headers=headers) as response:
        return response.status
