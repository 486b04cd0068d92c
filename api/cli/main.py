"""`app-manager`: the commands and their options (contract cli.md). What one does is in the module that it calls."""

import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from api.cli.ending import CRASHED, FAILED, CommandFailed, first_cause
from infra.settings import SettingsError, load_settings

app = typer.Typer(
    help="Takes job applications, hands each job to its portal exactly as often as intended, and tells how it went.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors as the contract says: `Error: <message>` on stderr
)


def main() -> NoReturn:
    """The console command: ends the process with an exit code of contract cli.md 3."""
    try:
        app(prog_name="app-manager")
    except (CommandFailed, SettingsError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except Exception as error:
        cause = first_cause(error)
        print(f"Error: unexpected {type(cause).__name__}: {cause}", file=sys.stderr)
        sys.exit(CRASHED)
    sys.exit()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"app-manager version {version('application-manager-service')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _global(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", "-v", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# -- running the service (contract cli.md 5) --------------------------------------------------------------------------


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Submit sample applications and show how they end.")] = False,
) -> None:
    """Run everything on this machine: the servers that are missing, and each role as a supervised process."""
    import asyncio

    from api.cli.terminal import Terminal
    from api.cli.up import run_up

    settings = load_settings(with_services=False)
    raise typer.Exit(asyncio.run(run_up(settings, demo=demo, terminal=Terminal())))


@app.command()
def serve(
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a Python file changes.")] = False,
) -> None:
    """Run one API process."""
    import asyncio

    from api.cli import reload as reloading
    from api.cli import role_process, roles

    if reload:
        raise typer.Exit(asyncio.run(reloading.run_reloading(role_process.command_line("serve"))))
    raise typer.Exit(role_process.run_role("api", roles.serve))


@app.command()
def project() -> None:
    """Run one projector: it keeps the read models."""
    from api.cli import role_process, roles

    raise typer.Exit(role_process.run_role("projector", roles.project))


@app.command()
def relay(
    from_position: Annotated[
        int | None,
        typer.Option("--from", min=0, metavar="POSITION", help="Publish again from there."),
    ] = None,
) -> None:
    """Run one relay: it publishes messages from the log."""
    from functools import partial

    from api.cli import role_process, roles

    raise typer.Exit(role_process.run_role("relay", partial(roles.relay, from_position=from_position)))


@app.command()
def work() -> None:
    """Run one worker: it hands jobs to their portals."""
    from api.cli import role_process, roles

    raise typer.Exit(role_process.run_role("worker", roles.work))


@app.command()
def sandbox() -> None:
    """Run the sandbox portal, which stands in for job portals."""
    from api.cli import role_process, roles

    raise typer.Exit(role_process.run_role("sandbox", roles.sandbox))


@app.command()
def token(
    user: Annotated[str, typer.Argument(help="Whom the token is for.")],
    admin: Annotated[bool, typer.Option("--admin", help="With the admin claim.")] = False,
    minutes: Annotated[
        int | None,
        typer.Option("--minutes", min=1, help="Its life; ACCESS_TOKEN_EXPIRE_MINUTES if not given."),
    ] = None,
) -> None:
    """Print a token signed with SECRET_KEY. Not in production, nor with OIDC_ISSUER."""
    from api.cli.tokens import make_token

    settings = load_settings()
    lives = settings.access_token_expire_minutes if minutes is None else minutes
    typer.echo(make_token(settings, user, minutes=lives, admin=admin))
