"""What all client commands share: options before and after the name, and how a command begins (contract cli.md 1)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.client.keys import API_TOKEN, API_URL, OUTPUT_FORMAT, Key, OutputFormat
from api.cli.client.output import Output
from api.cli.client.settings import Settings
from api.cli.ending import CommandFailed

if TYPE_CHECKING:
    from api.cli.client.connection import Api

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, as with -o json.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")]


def _usable(key: Key) -> Callable[[str | None], str | None]:
    """An option whose text the key would not take is bad usage."""

    def check(text: str | None) -> str | None:
        try:
            if text:
                key.read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return text

    return check


def _url(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise typer.BadParameter("is empty")
    return _usable(API_URL)(text)


ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", "-u", metavar="URL", callback=_url, help=f"Service address. [{API_URL.variable}]"),
]
Token = Annotated[
    str | None,
    typer.Option("--token", "-t", metavar="JWT", callback=_usable(API_TOKEN), help=f"Token. [{API_TOKEN.variable}]"),
]
Format = Annotated[
    OutputFormat | None,
    typer.Option("--output", "-o", case_sensitive=False, help=f"Output format. [{OUTPUT_FORMAT.variable}]"),
]


def options(api_url: str | None, token: str | None, output: OutputFormat | None) -> dict[str, str]:
    """Those that were given before the command, for `begin`."""
    given = {API_URL.name: api_url, API_TOKEN.name: token, OUTPUT_FORMAT.name: output}
    return {name: text for name, text in given.items() if text is not None}


def settings_of(context: typer.Context, *, as_json: bool = False) -> Settings:
    given: Mapping[str, str] = context.obj or {}
    return Settings({**given, OUTPUT_FORMAT.name: OutputFormat.JSON} if as_json else given)


def output_of(settings: Settings) -> Output:
    return Output(settings.output_format, no_color=settings.no_color)


def output_if_known(settings: Settings) -> Output:
    """For commands that print lines and no table: the client's settings must not keep their user from those.

    A format that cannot be used is as if it were not set, and colours are nothing to lines.
    """
    try:
        return Output(settings.output_format)
    except CommandFailed:
        return Output(OutputFormat.TABLE)


def begin(context: typer.Context, *, as_json: bool) -> "tuple[Api, Output]":
    """The service and standard output, as the settings say. Raises CommandFailed."""
    from api.cli.client.connection import Api

    settings = settings_of(context, as_json=as_json)
    output = output_of(settings)
    return Api(settings), output


def group(about: str) -> typer.Typer:
    """A group of commands. Called without one of them, it prints its help."""
    made = typer.Typer(help=about, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    made.callback(invoke_without_command=True)(print_help)
    return made


def print_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
