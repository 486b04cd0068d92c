"""`app-manager schema`: what is stored, described for programs (contract cli.md 5)."""

import typer

from api.cli.client.commands import Json, group, output_of, settings_of

app = group("What the service stores, as JSON Schema.")


@app.command()
def events(context: typer.Context, json: Json = False) -> None:
    """Print the JSON Schema of every event type and version: one document, always JSON."""
    from infra.event_schemas import released

    output_of(settings_of(context, as_json=json)).document(released())
