"""A thousand hostile cells, submitted over HTTP and exported: read back as they were, and no formula among them
(contract http.md 8.2, 8.3).

CSV has no types, so there a cell that would begin a formula begins with an apostrophe. Excel has: its cells are texts,
letter for letter, and stay so when somebody edits one. What XML cannot hold stands there as Excel writes it.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from uuid import UUID

import pytest

from domain.application_events import ApplicationSubmitted
from domain.event import Owner
from tests.api import Answer, Api, User
from tests.builders import ApplicationStory
from tests.exporting import applied_after, refused_after, rows_of, sheet_of, texts_of, went_on
from tests.hostile import hostile_texts

pytestmark = pytest.mark.asyncio(loop_scope="module")

Cells = tuple[str, str, str, str]  # portal, title, company_name, location

GUARDED = ("=", "+", "-", "@", "\t", "\r")
REASON = "=cmd|' /C calc'!A0"


def hostile_cells() -> Sequence[Cells]:
    texts = hostile_texts(1_000)
    return [(texts[n], texts[n + 1], texts[n + 2], texts[n + 3]) for n in range(0, 1_000, 4)]


async def submitted(api: Api, user: User, rows: Sequence[Cells]) -> ApplicationStory:
    names = ("portal", "title", "company_name", "location")
    answer = await user.submit({"jobs": [dict(zip(names, row, strict=True)) for row in rows]})
    assert answer.status == 200, answer.body
    [recorded] = await api.event_store.log.read_stream(UUID(answer.json["application_id"]))
    assert isinstance(recorded.event, ApplicationSubmitted)
    assert isinstance(recorded.metadata.owner, Owner)
    return ApplicationStory(recorded.stream_id, recorded.metadata.owner, recorded.metadata.cause, (recorded.event,))


async def test_a_thousand_hostile_cells_come_back(api: Api, ada: User) -> None:
    rows = hostile_cells()
    assert len({cell for row in rows for cell in row}) == 1_000
    first, second = await submitted(api, ada, rows[:125]), await submitted(api, ada, rows[125:])
    await went_on(api, first, applied_after(first))
    position = await went_on(api, second, refused_after(second, REASON))

    as_csv = rows_of(await ada.get("/export/csv", at_least=position))
    assert [tuple(row[1:5]) for row in as_csv] == [tuple(map(guarded, row)) for row in rows]
    assert {row[8] for row in as_csv} == {"", f"'{REASON}"}
    assert not [cell for row in as_csv for cell in row if cell.startswith(GUARDED)]

    answer = await ada.get("/export/excel", at_least=position)
    as_texts = texts_of(sheet_of(answer))
    assert [tuple(row[1:5]) for row in as_texts] == rows
    assert {row[8] for row in as_texts} == {"", REASON}
    expect_text_cells_only(answer, len(rows))


def guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(GUARDED) else cell


def expect_text_cells_only(answer: Answer, rows: int) -> None:
    """In the file itself, and not as one reader of it sees it."""
    for row in sheet_of(answer).iter_rows(min_row=2):
        assert {cell.data_type for cell in row if cell.value is not None} == {"s"}
        assert all(cell.quotePrefix and cell.hyperlink is None for cell in row)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as file:
        xml = file.read("xl/worksheets/sheet1.xml").decode()
        assert not [name for name in file.namelist() if "externalLink" in name or "/_rels/sheet" in name]
    assert re.search(r"<f[ >/]|<hyperlink|<r>|<r ", xml) is None
    cells = re.findall(r"<c ([^>]*)>", xml)
    assert len(cells) == (rows + 1) * 9
    assert {re.sub(r'^r="[A-I]\d+" s="\d+"', "", cell) for cell in cells} == {' t="inlineStr"', "/"}


async def test_half_a_character_does_not_come_in(ada: User) -> None:
    """So none has to come out: no UTF-8 can hold it."""
    answer = await ada.submit('{"jobs": [{"title": "\\ud83e"}]}')
    answer.refused(422, "ERR_3002", "InvalidJobDataError")


async def test_a_portal_of_any_name_can_be_asked_for(api: Api, ada: User) -> None:
    names = [name for name in hostile_texts(1_000)[::25] if name.strip()]
    story = await submitted(api, ada, [(name, str(number), "", "") for number, name in enumerate(names)])
    position = await went_on(api, story, applied_after(story))
    for number, name in enumerate(names):
        found = rows_of(await ada.get("/export/csv", at_least=position, portal=name))
        assert str(number) in [row[2] for row in found], name
