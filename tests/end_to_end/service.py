"""The service as real processes on free ports, which a test may kill and start again, and a client of it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.ports import free_ports

SECRET = "a-secret-of-the-tests-that-is-long-enough"
ROLES = {"api": "serve", "projector": "project", "relay": "relay", "worker": "work", "sandbox": "sandbox"}
STARTED_SECONDS = 60.0  # on a machine that other tests keep busy
ENDED = {"success", "failed", "cancelled"}


class TookTooLong(Exception):
    """A condition did not come true in time; says which."""


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0) -> None:
    """Asks again and again until it is true. Raises TookTooLong."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise TookTooLong(what)
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Service:
    """The roles as processes. `settings` are environment variables that all of them get; `code` is what they run."""

    folder: Path
    settings: dict[str, str]
    code: Path = field(default_factory=Path.cwd)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @classmethod
    def on(cls, folder: Path, *, mongodb: str, database: str, rabbitmq: str, event_store: str, **more: str) -> Self:
        """Settings for these servers; queue names are of this database alone."""
        api, sandbox, *metrics = map(str, free_ports(5))
        names = ("WORKER_METRICS_PORT", "RELAY_METRICS_PORT", "PROJECTOR_METRICS_PORT")
        return cls(
            folder,
            {
                "MONGODB": mongodb,
                "MONGODB_DATABASE": database,
                "RABBITMQ_URL": rabbitmq,
                "EVENT_STORE": event_store,
                "SECRET_KEY": SECRET,
                "PORT": api,
                "SANDBOX_PORTAL_PORT": sandbox,
                "APPLICATION_PROCESSING_QUEUE": f"{database}_work",
                "APPLICATION_DLQ": f"{database}_dead",
                "MIDDLEWARE_QUEUE": f"{database}_notifications",
                "RATE_LIMIT_ENABLED": "false",
                "RETRY_BASE_DELAY": "0.2",
                "CLAIM_SECONDS": "2",
                "SHUTDOWN_GRACE_SECONDS": "5",
                **dict(zip(names, metrics, strict=True)),
                **more,
            },
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.settings['SANDBOX_PORTAL_PORT']}"

    @asynccontextmanager
    async def running(self, *roles: str) -> AsyncIterator["Client"]:
        """All roles, or these, until the end; then each is stopped as an operator would stop it."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.ending())
            await asyncio.gather(*(self.start(role) for role in roles or ROLES))
            client = await stack.enter_async_context(Client(self.url, self.sandbox_url))
            if not roles or "projector" in roles:  # without one there are no read models, and it never is
                await until(client.ready, f"the API is ready:\n{self.log('api')}", STARTED_SECONDS)
            else:
                await until(client.alive, f"the API is alive:\n{self.log('api')}", STARTED_SECONDS)
            yield client

    async def start(self, role: str, *, code: Path | None = None, **more: str) -> None:
        """`role` may have a suffix, as `worker-2`: another one of it, with `more` settings or other `code`."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | self.settings | more
        with self._log_file(role).open("ab") as log:
            self.processes[role] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "api.cli", ROLES[role.split("-", maxsplit=1)[0]],
                cwd=self.folder, env=environment | {"PYTHONPATH": str(code or self.code)}, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, role: str) -> None:
        """As the kernel does it: no goodbye."""
        self.processes[role].send_signal(signal.SIGKILL)
        await self.processes[role].wait()

    async def stop(self, role: str) -> int:
        """As an operator does it; gives the exit code."""
        process = self.processes.pop(role)
        if process.returncode is None:
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise TookTooLong(f"{role} stops:\n{self.log(role)}") from None

    def log(self, role: str) -> str:
        """The last lines that a role wrote."""
        file = self._log_file(role)
        return "\n".join(file.read_text(errors="replace").splitlines()[-30:]) if file.exists() else ""

    def logged(self, role: str) -> list[dict[str, Any]]:
        """All that a role has logged so far. It may be in the midst of a line; what else it prints is no JSON."""
        lines = self._log_file(role).read_text(errors="replace").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def _log_file(self, role: str) -> Path:
        return self.folder / f"{role}.log"

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Whatever was started is stopped at the end."""
        try:
            yield
        finally:
            await self.end()

    async def end(self) -> None:
        """Stops whatever was started."""
        await asyncio.gather(*(self.stop(role) for role in list(self.processes)))


@dataclass(slots=True)
class Client:
    """A user of the service, and a look at what the portal says that it got."""

    url: str
    sandbox_url: str
    user: str = "ada"
    http: aiohttp.ClientSession = field(init=False)

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=30)
        self.http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=128))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {token(self.user)}"}

    async def ready(self) -> bool:
        return await self._well("ready")

    async def alive(self) -> bool:
        return await self._well("live")

    async def _well(self, probe: str) -> bool:
        try:
            async with self.http.get(f"{self.url}/health/{probe}") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def get(self, path: str, **query: str) -> Any:
        """The body of a 200. Raises for anything else."""
        async with self.http.get(self.url + path, params=query, headers=self.headers) as response:
            response.raise_for_status()
            return await response.json()

    async def submit(self, *titles: str, cv: bytes | None = None, **more: str) -> str:
        """Submits one application with a job for each title, and gives its id. Raises when it was not taken."""
        jobs = {"jobs": [{"title": title, "portal": "sandbox", "company_name": "Bread & Co"} for title in titles]}
        answer = await self.post_form("/applications", cv, jobs=json.dumps(jobs), **more)
        application_id: str = answer["application_id"]
        return application_id

    async def post_form(self, path: str, cv: bytes | None = None, **fields: str) -> Any:
        """The body of a 2xx. Raises for anything else."""
        form = aiohttp.FormData(fields, default_to_multipart=True)
        if cv is not None:
            form.add_field("cv", cv, filename="cv.pdf", content_type="application/pdf")
        async with self.http.post(self.url + path, data=form, headers=self.headers) as response:
            response.raise_for_status()
            return await response.json()

    async def status(self, application_id: str) -> str:
        status: str = (await self.get(f"/applications/{application_id}/status"))["status"]
        return status

    async def all_ended(self, application_ids: Sequence[str], seconds: float = 60.0) -> dict[str, str]:
        """The final status of each. Raises TookTooLong with those that have not ended."""
        left, ended = set(application_ids), dict[str, str]()

        async def look() -> bool:
            some = list(left)[:100]
            for application_id, status in zip(some, await asyncio.gather(*map(self.status, some)), strict=True):
                if status in ENDED:
                    ended[application_id] = status
                    left.discard(application_id)
            return not left

        try:
            await until(look, "", seconds)
        except TookTooLong:
            raise TookTooLong(
                f"{len(left)} of {len(application_ids)} have not ended, such as {sorted(left)[:3]}"
            ) from None
        return ended

    async def entries(self, path: str) -> dict[str, Any]:
        """All entries of a list, page by page."""
        entries: dict[str, Any] = {}
        query = {"limit": "100"}
        while True:
            page = await self.get(path, **query)
            entries |= page["data"]
            if not page["pagination"]["has_more"]:
                return entries
            query["cursor"] = page["pagination"]["next_cursor"]

    async def portal(self, path: str, **query: str) -> Any:
        async with self.http.get(self.sandbox_url + path, params=query) as response:
            response.raise_for_status()
            return await response.json()

    async def received(self) -> list[dict[str, Any]]:
        """All entries that the portal got."""
        found: list[dict[str, Any]] = []
        query: dict[str, str] = {}
        while True:
            page = await self.portal("/received", **query)
            found.extend(page["data"])
            if not page["next_cursor"]:
                return found
            query["cursor"] = page["next_cursor"]


def token(user: str, **claims: Any) -> str:
    return jwt.encode({"alg": "HS256"}, {"id": user} | claims, OctKey.import_key(SECRET))
