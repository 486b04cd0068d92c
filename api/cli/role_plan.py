"""The roles that `up` runs, in the order of their start: where each listens, and what tells that it is ready."""

from dataclasses import dataclass

from api.cli.addresses import Address, to_reach, why_not_free
from api.cli.ending import CommandFailed
from api.cli.role_process import command_line
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Role:
    """One process of the service."""

    name: str
    command: str  # of app-manager
    listens: Address | None  # None: its own server is switched off
    setting: str  # field of Settings that chooses the port
    health: str  # path that answers 200 when it is up

    @property
    def url(self) -> str | None:
        """Where it is reached from this machine."""
        return f"http://{Address(to_reach(self.listens.host), self.listens.port)}" if self.listens else None

    @property
    def argv(self) -> list[str]:
        return command_line(self.command)


def roles_of(settings: Settings) -> list[Role]:
    """The API comes last and is stopped first. The sandbox portal is for development."""

    def role(name: str, command: str, setting: str, health: str, host: str = settings.host) -> Role:
        port: int = getattr(settings, setting)
        return Role(name, command, Address(host, port) if port else None, setting, health)

    sandbox = role("sandbox", "sandbox", "sandbox_portal_port", "/summary", settings.sandbox_portal_host)
    return [
        *([] if settings.is_production else [sandbox]),
        role("projector", "project", "projector_metrics_port", "/health/live"),
        role("relay", "relay", "relay_metrics_port", "/health/live"),
        role("worker", "work", "worker_metrics_port", "/health/live"),
        role("api", "serve", "port", "/health/ready"),
    ]


def check_ports(roles: list[Role]) -> None:
    """Raises CommandFailed, naming every port that cannot be had and the setting that chooses another."""
    problems = [
        f"the {role.name} cannot listen on {role.listens}: {reason} (choose another: {role.setting.upper()}=...)"
        for role in roles
        if role.listens and (reason := why_not_free(role.listens))
    ]
    if problems:
        raise CommandFailed("; ".join(problems))
