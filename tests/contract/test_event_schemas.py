"""The stored form of every event is a published schema, which never changes: a new form is a new version (design 4).

After a new version, `python -m tests.contract.test_event_schemas` writes the files that are missing, and no other.
"""

from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from domain.event import Event
from infra.event_schemas import FILE, Schema, released, schema_of
from tests.command_line import Shell
from tests.contract.test_golden_events import EXPECTED, content_of, of_this_release

FOLDER = Path(__file__).parents[2] / "infra" / "event_schemas"


def published(name: str, version: int) -> Schema:
    return dict(released()[name][str(version)])


def test_every_event_in_every_version_has_a_schema_and_no_other_has() -> None:
    assert {(name, int(version)) for name, versions in released().items() for version in versions} == set(EXPECTED)


@pytest.mark.parametrize("cls", of_this_release(), ids=lambda cls: cls.NAME)
def test_a_form_that_changes_needs_a_new_version(cls: type[Event]) -> None:
    """Also where the golden example is the same: a field that may now be empty, a number that is now a text."""
    assert published(cls.NAME, cls.VERSION) == schema_of(cls)


@pytest.mark.parametrize(("name", "version"), EXPECTED, ids=str)
def test_what_a_release_wrote_is_valid_and_anything_else_is_not(name: str, version: int) -> None:
    schema = published(name, version)
    assert jsonschema_rs.meta.is_valid(schema)
    content = {key: value for key, value in content_of(name, version).items() if key != "name"}
    checked = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    checked.validate(content)
    for broken in (
        {**content, "v": version + 1},
        {**content, "metadata": {**content["metadata"], "at": 5}},
        {**content, "data": {}},
        {key: value for key, value in content.items() if key != "data"},
    ):
        assert not checked.is_valid(broken)


def test_a_field_that_may_now_be_empty_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "BY_NAME", dict(Event.BY_NAME))

    class Before(Event, name="test.moved"):
        title: str
        description: str

    class After(Event, name="test.moved_again"):
        title: str | None
        description: str

    before, after = schema_of(Before), schema_of(After)
    assert list(before["properties"]["data"]["properties"]) == ["title", "description"]
    assert before["properties"]["data"] != after["properties"]["data"]


def test_the_command_prints_them_all(shell: Shell) -> None:
    assert shell.run("schema", "events").ended_well().json == released()
    assert shell.run("schema", "events", "--json").ended_well().json == released()


def write_missing() -> None:
    for cls in of_this_release():
        file = FOLDER / FILE.format(name=cls.NAME, version=cls.VERSION)
        if not file.exists():
            file.write_bytes(orjson.dumps(schema_of(cls), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    write_missing()
