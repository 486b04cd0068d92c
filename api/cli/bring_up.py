"""From nothing to a service that is ready: the steps of `up`, in order.

1. Ports, portals and document writer are looked at, so that what cannot work is told before anything runs.
2. The servers that are missing are started, side by side.
3. `.data/services.env` tells the other commands of them. It is written before any role runs, with the key that all
   tokens are signed with, which is made once and kept.
4. The roles are started, side by side, and waited for.
5. The demo, if it is wanted; then what can be tried is printed.

A failure at any step, or a cancellation, leaves what was started to the supervisor, which stops it.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from api.cli.adapters import check_adapters
from api.cli.child import ChildProcess
from api.cli.demo import run_demo
from api.cli.ending import CommandFailed
from api.cli.first_steps import DEVELOPER, tell_first_steps
from api.cli.readiness import wait_until_ready
from api.cli.role_log import RoleLog
from api.cli.role_plan import Role, check_ports, roles_of
from api.cli.servers import Elsewhere, LocalServer, Place, engines_for, place_of
from api.cli.services_env import read_services, secret_key_of, write_services
from api.cli.supervisor import Supervisor
from api.cli.terminal import Terminal
from api.cli.tokens import make_token
from infra.local_servers import LocalServerError
from infra.settings import Settings

DATA = Path(".data")
LOGS = DATA / "logs"
TOKEN_MINUTES = 24 * 60


class BringUp:
    """`settings` are those of the environment and `.env` alone: what an earlier `up` wrote is looked at by itself."""

    def __init__(self, settings: Settings, supervisor: Supervisor, terminal: Terminal) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._terminal = terminal
        self._began = time.monotonic()

    async def run(self, *, demo: bool) -> None:
        """Serves until it is cancelled. Raises CommandFailed when it cannot be brought up."""
        earlier = read_services()
        roles = roles_of(self._settings)
        check_ports(roles)
        await asyncio.to_thread(check_adapters, self._settings)
        self._terminal.tell("Starting (data, logs and addresses: .data/)")
        started = await self._start_servers(earlier)
        settings = self._settings.model_copy(update={**started, "secret_key": self._secret_key(earlier)})
        url = roles[-1].url
        assert url is not None, "the API always listens"
        services = _services(settings, url)
        write_services(services)
        await self._start_roles(roles, {**os.environ, **services})
        await self._show(settings, url, demo=demo)
        await asyncio.Event().wait()

    async def _start_servers(self, earlier: Mapping[str, str]) -> dict[str, str]:
        """The settings of those that were started here."""
        engines = engines_for(self._settings)
        places = [await asyncio.to_thread(place_of, engine, self._settings, earlier) for engine in engines]
        started: dict[str, str] = {}
        try:
            async with asyncio.TaskGroup() as starts:
                for place in places:
                    if isinstance(place, Elsewhere):
                        self._line(place.engine.name, str(place))
                    else:
                        starts.create_task(self._start_server(place, started))
        except ExceptionGroup as errors:  # by `except*`, Python before 3.11.4 would raise it in a group again
            if errors.subgroup(lambda error: not isinstance(error, LocalServerError | ExceptionGroup)):
                raise
            raise CommandFailed("; ".join(str(error) for error in errors.exceptions)) from None
        return started

    async def _start_server(self, place: Place, started: dict[str, str]) -> None:
        server = LocalServer(place, DATA / place.engine.name.lower())
        await self._supervisor.start(server)
        started[place.engine.setting] = server.running.url
        self._line(place.engine.name, f"{server.address} (process {server.running.pid})")

    async def _start_roles(self, roles: list[Role], environment: Mapping[str, str]) -> None:
        for role in roles:
            log = RoleLog(LOGS / f"{role.name}.log")
            await self._supervisor.start(ChildProcess(role.name, role.argv, environment, log))
        await wait_until_ready(roles, self._role_is_ready, self._terminal.tell)

    def _role_is_ready(self, role: Role) -> None:
        self._line(role.name, role.url or "runs (its own port is switched off)")

    async def _show(self, settings: Settings, url: str, *, demo: bool) -> None:
        self._terminal.tell(f"Ready after {time.monotonic() - self._began:.1f} s: {url}")
        shown: str | None = None
        if demo:
            try:
                shown = await run_demo(url, partial(make_token, settings, minutes=TOKEN_MINUTES), self._terminal)
            except CommandFailed as error:
                self._terminal.tell(f"The demo failed: {error} (logs: {LOGS}/)")
        none_made = settings.is_production or settings.oidc_issuer
        token = None if none_made else make_token(settings, DEVELOPER, minutes=TOKEN_MINUTES)
        tell_first_steps(url, token, shown, self._terminal)

    def _secret_key(self, earlier: Mapping[str, str]) -> SecretStr:
        """The user's own, else the one made by the first `up` in this folder."""
        if "secret_key" in self._settings.model_fields_set:
            return self._settings.secret_key
        return SecretStr(secret_key_of(earlier))

    def _line(self, name: str, text: str) -> None:
        self._terminal.tell(f"  {name:<11} {text:<44} {time.monotonic() - self._began:5.1f} s")


def _services(settings: Settings, api_url: str) -> dict[str, str]:
    return {
        "MONGODB": settings.mongodb,
        "RABBITMQ_URL": settings.rabbitmq_url,
        "EVENT_STORE": settings.event_store,
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "APP_MANAGER_API_URL": api_url,
    }
