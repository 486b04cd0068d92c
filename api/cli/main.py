"""`app-manager`: the commands and their options (contract cli.md). What one does is in the module that it calls."""

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from api.cli import schema
from api.cli.audit import commands as audit
from api.cli.client import apps, config, export, queue
from api.cli.client.commands import ApiUrl, Format, Json, Token, options, output_if_known, print_help, settings_of
from api.cli.client.health import health
from api.cli.client.metrics import metrics
from api.cli.ending import FAILED, CommandFailed, first_cause, tell_error
from api.cli.operators import projections

app = typer.Typer(
    help="Takes job applications, hands each job to its portal exactly as often as intended, and tells how it went.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors as the contract says: `Error: <message>` on stderr
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console command: ends the process with an exit code of contract cli.md 3. `arguments`: else its own."""
    try:
        app(arguments, prog_name="app-manager")
    except Exception as error:
        tell_error(_as_told(error))
        sys.exit(FAILED)
    sys.exit()


def _as_told(error: Exception) -> Exception:
    """Itself, or one line that names what nobody foresaw."""
    if isinstance(error, CommandFailed):
        return error
    from infra.settings import SettingsError

    cause = first_cause(error)
    return error if isinstance(error, SettingsError) else CommandFailed(f"unexpected {type(cause).__name__}: {cause}")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"app-manager version {version('application-manager-service')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _global(
    context: typer.Context,
    api_url: ApiUrl = None,
    token: Token = None,
    output: Format = None,
    _version: Annotated[
        bool, typer.Option("--version", "-v", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = options(api_url, token, output)
    print_help(context)


# -- using the service (contract cli.md 4) ----------------------------------------------------------------------------

app.command()(health)
app.add_typer(apps.app, name="apps")
app.add_typer(queue.app, name="queue")
app.add_typer(export.app, name="export")
app.command()(metrics)
app.add_typer(config.app, name="config")


# -- running the service (contract cli.md 5) --------------------------------------------------------------------------


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Submit sample applications and show how they end.")] = False,
) -> None:
    """Run everything on this machine: the servers that are missing, and each role as a supervised process."""
    import asyncio

    from api.cli.settings_here import said_settings
    from api.cli.terminal import Terminal
    from api.cli.up import run_up
    from infra.tracing import check_installed

    settings = said_settings()
    check_installed(settings)
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
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Whom the token is for.")],
    admin: Annotated[bool, typer.Option("--admin", help="With the admin claim.")] = False,
    minutes: Annotated[
        int | None,
        typer.Option("--minutes", min=1, help="Its life; ACCESS_TOKEN_EXPIRE_MINUTES if not given."),
    ] = None,
    json: Json = False,
) -> None:
    """Print a token signed with SECRET_KEY. Not in production, nor with OIDC_ISSUER."""
    from api.cli.settings_here import settings_here
    from api.cli.tokens import make_token

    settings = settings_here()
    lives = settings.access_token_expire_minutes if minutes is None else minutes
    body = {"token": make_token(settings, user, minutes=lives, admin=admin)}
    output_if_known(settings_of(context, as_json=json)).show(body, lambda body: [body["token"]])


# -- looking into it (contract cli.md 5) ------------------------------------------------------------------------------

app.add_typer(audit.app, name="audit")
app.add_typer(schema.app, name="schema")
app.add_typer(projections.app, name="projections")
