"""`app-manager config`: the client's own settings (contract cli.md 2 and 4). Nothing goes over the network."""

from collections.abc import Iterator
from typing import Annotated

import typer

from api.cli.client.asking import confirmed
from api.cli.client.commands import Force, Json, group, output_if_known, output_of, settings_of
from api.cli.client.keys import KEYS, Key, OutputFormat, Value, key_named, written
from api.cli.client.output import plain, table
from api.cli.client.settings import Settings
from api.cli.client.settings_file import delete_settings, write_setting
from api.cli.ending import CommandFailed

HIDDEN = "[hidden]"

app = group("The settings of this command line.")


def _names(incomplete: str) -> list[str]:
    return [key.name for key in KEYS if key.name.startswith(incomplete.lower())]


KeyName = Annotated[str, typer.Argument(metavar="KEY", autocompletion=_names, help="Its name or short form.")]


@app.command()
def show(context: typer.Context, json: Json = False) -> None:
    """Show what is set, and where."""
    settings = settings_of(context, as_json=json)
    exists = settings.path.exists()
    if settings.output_format is OutputFormat.JSON:
        output_of(settings).document(
            {"config_file": str(settings.path), "config_file_exists": exists}
            | {key.name: _documented(key, settings) for key in KEYS}
            | {"from": {key.name: settings.said(key).place for key in KEYS}}
        )
        return
    output = output_of(settings)
    rows = [[key.label, plain(_told(key, settings)), plain(settings.said(key).place)] for key in KEYS]
    output.lines(f"Config file: {plain(settings.path)} ({'exists' if exists else 'does not exist'})")
    output.show(rows, lambda rows: [table("Configuration", ["Setting", "Value", "From"], rows)])


@app.command("set")
def set_(
    context: typer.Context,
    name: KeyName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Empty: as if it were not set.")],
) -> None:
    """Keep a setting in the file."""
    key = _key(name)
    text = value.strip()
    try:
        kept = key.read(text) if text else None
    except ValueError as error:
        raise CommandFailed(f"{key.name} {error}", *_valid_keys()) from None
    settings = settings_of(context)
    write_setting(settings.path, key.variable, written(kept))
    told = HIDDEN if key.secret and kept is not None else key.shown(kept)
    output_if_known(settings).show({key.name: told}, lambda _: [f"{key.name} = {plain(told)}"])


@app.command()
def get(context: typer.Context, name: KeyName, json: Json = False) -> None:
    """Print a setting alone, as it is in effect."""
    key = _key(name)
    settings = settings_of(context, as_json=json)
    told = _told(key, settings)
    output_if_known(settings).show({key.name: _documented(key, settings)}, lambda _: [told])


@app.command()
def reset(context: typer.Context, force: Force = False) -> None:
    """Delete the file with the settings."""
    settings = settings_of(context)
    path = settings.path
    output = output_if_known(settings)
    deleted = False
    if path.exists():
        if not confirmed(f"Delete {plain(path)}?", force=force, deletes=True):
            return
        deleted = delete_settings(path)
    told = f"Deleted: {plain(path)}" if deleted else f"There is no {plain(path)}: nothing to reset."
    output.show({"config_file": str(path), "deleted": deleted}, lambda _: [told])


def _key(name: str) -> Key:
    key = key_named(name)
    if key is None:
        raise CommandFailed(f"unknown key: {plain(name)}", *_valid_keys())
    return key


def _valid_keys() -> Iterator[str]:
    yield "valid keys: " + ", ".join(f"{key.name} ({key.short})" if key.short else key.name for key in KEYS)


def _told(key: Key, settings: Settings) -> str:
    return key.shown(settings.value(key))


def _documented(key: Key, settings: Settings) -> Value:
    """As a JSON document has it: of its own type, but a secret as people see it."""
    return _told(key, settings) if key.secret else settings.value(key)
