"""One run: the service as real processes, something in it to ask for, and schemathesis against it."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.service import Client, Service, token

CONFIG = Path(__file__).with_name("schemathesis.toml")
PDF = b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n%%EOF\n"
USER = "ada"
PROBES_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """`told`: what schemathesis printed; `cases`: how many requests it made."""

    passed: bool
    cases: int
    told: str


def service_for(folder: Path, *, mongodb: str, database: str, rabbitmq: str) -> Service:
    """Without limits, so that no call is refused for its number; a read waits as long as it takes."""
    event_store = f"sqlite:///{folder}/events.db"
    return Service.on(
        folder,
        mongodb=mongodb,
        database=database,
        rabbitmq=rabbitmq,
        event_store=event_store,
        READ_WAIT_SECONDS="20",
        WORKER_PREFETCH="4",
        WS_MAX_CONNECTIONS_PER_USER="200",
    )


async def fuzz(service: Service, client: Client, *, examples: int, seed: int) -> Fuzzed:
    """`examples` is the most that is made of an operation in a phase."""
    known = service.folder / "known.json"
    known.write_text(json.dumps(await something_to_ask_for(client)))
    report = service.folder / f"fuzzed-{seed}.json"
    # An operator's token, so that his calls are reached too.
    bearer = token(USER, is_admin=True, admin_role="operator")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{service.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {bearer}", "--max-examples", str(examples), "--seed", str(seed)),
        *("--workers", "2", "--no-color", "--report", "json", "--report-json-path", str(report)),
        env={**os.environ, "FUZZ_KNOWN": str(known), "PYTHONPATH": str(Path.cwd())},
        cwd=service.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    return Fuzzed(process.returncode == 0, await asyncio.to_thread(_cases, report), told.decode(errors="replace"))


async def something_to_ask_for(client: Client) -> dict[str, Any]:
    """Applications in every end, a batch, and the position that the log is at."""
    ids = [await client.submit("Baker", cv=PDF), await client.submit("[reject] Miller"), await client.submit("A", "B")]
    async with client.http.post(
        f"{client.url}/batch/applications",
        data={"items": json.dumps([{"jobs": [{"title": "Cook"}]}, {"jobs": [{"title": "[reject] Waiter"}]}])},
        headers=client.headers,
    ) as response:
        response.raise_for_status()
        batch = await response.json()
        position = int(response.headers["X-Event-Position"])
    await client.all_ended(ids + [one["application_id"] for one in batch["results"]], PROBES_SECONDS)
    entries = [*await client.entries("/applied"), *await client.entries("/fail_applied")]
    known = {"application_id": ids, "app_id": entries, "batch_id": [batch["batch_id"]]}
    first = await client.get("/applied", limit="1")
    return {"ids": known, "position": position, "cursor": first["pagination"]["next_cursor"]}


async def troubles(service: Service, client: Client) -> list[str]:
    """What no request may lead to: an error that a role tells, or a stream that the projector cannot fold."""
    found = await asyncio.to_thread(_told_errors, service)
    port = service.settings["PROJECTOR_METRICS_PORT"]
    async with client.http.get(f"http://127.0.0.1:{port}/metrics") as response:
        metrics = (await response.text()).splitlines()
    return found + [line for line in metrics if line.startswith("parked_streams{") and not line.endswith(" 0")]


def _told_errors(service: Service) -> list[str]:
    found: list[str] = []
    for role in service.processes:
        for line in (service.folder / f"{role}.log").read_text(errors="replace").splitlines():
            level = json.loads(line).get("level") if line.startswith("{") else "unreadable"
            if level not in {"DEBUG", "INFO", "WARNING"}:
                found.append(f"{role}: {line}")
    return found


def _cases(report: Path) -> int:
    """None that could not be made or checked counts."""
    if not report.exists():
        return 0
    told = json.loads(report.read_bytes())["test_cases"]
    cases: int = told["generated"] - told["without_checks"] - told["errored"]
    return cases
