"""A Prometheus of our own: Debian's, reading the roles of a running service every second, by our own configuration."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from infra.local_servers import free_port
from tests.deploy.tools import MONITORING, PROMETHEUS, debian_packages

SECONDS = 60.0
POLL_SECONDS = 0.3


class Prometheus:
    """Asked over its own HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def query(self, expression: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """Labels and value of each sample now."""
        found = await self._get("query", query=expression)
        return [(sample["metric"], float(sample["value"][1])) for sample in found["result"]]

    async def names(self) -> set[str]:
        """Of all series that it has seen."""
        return set(await self._get("label/__name__/values"))

    async def firing(self) -> set[str]:
        return {labels["alertname"] for labels, _ in await self.query('ALERTS{alertstate="firing"}')}

    async def _get(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=query) as answer:
            return (await answer.json())["data"]

    @classmethod
    @asynccontextmanager
    async def reading(cls, targets: Sequence[str], folder: Path) -> AsyncIterator[Self]:
        """Runs until the end; `for` of each alert is as many seconds as it has minutes."""
        port = free_port()
        program = await asyncio.to_thread(_program)
        configuration = await asyncio.to_thread(_configured, targets, folder)
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                yield cls(session, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            await process.wait()


def _program() -> str:
    return shutil.which("prometheus") or str(debian_packages(PROMETHEUS) / "usr/bin/prometheus")


def _configured(targets: Sequence[str], folder: Path) -> Path:
    told = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    del told["alerting"]
    [scraped] = told["scrape_configs"]
    del scraped["dns_sd_configs"]
    scraped["static_configs"] = [{"targets": list(targets)}]
    for name in told["rule_files"]:
        rules = yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = rule["for"].replace("m", "s")
        (folder / name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(told), encoding="utf-8")
    return file
