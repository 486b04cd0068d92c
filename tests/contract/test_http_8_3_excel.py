"""The Excel export (contract http.md 8.3). What building it may cost: component/test_excel_builds."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from api.excel_builds import PROGRAM
from domain.job import Job
from projections import exports
from tests.api import Api, User, running_api, settings_for
from tests.exporting import HEADING, MONDAY, applied, happened, refused, rows_of, sheet_of, texts_of, widths_of
from tests.processes import children_running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(mongodb_uri: str, api_database: str, api_folder: Path) -> AsyncIterator[Api]:
    """An API whose Excel files hold three rows."""
    settings = settings_for(
        f"sqlite:///{api_folder}/three.db", mongodb_uri, f"{api_database}_three", export_excel_max_rows=3
    )
    async with running_api(settings) as three:
        yield three
        await three.deps.cvs._cvs.database.client.drop_database(f"{api_database}_three")


# -- the file ---------------------------------------------------------------------------------------------------------


async def test_it_is_a_file_with_a_name(ada: User) -> None:
    answer = await ada.get("/export/excel")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == EXCEL
    assert re.fullmatch(r"attachment; filename=applications_\d{8}_\d{6}\.xlsx", answer.headers["Content-Disposition"])
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.position >= 0


async def test_its_rows_are_those_of_the_csv(api: Api, ada: User) -> None:
    position = await happened(
        api,
        refused(ada, Job(title="f0"), at=MONDAY),
        applied(ada, Job(title="a1", portal="Xing", company_name="Crumb & Co", location="Graz"), Job(title="a1b")),
        refused(ada, Job(title="f2"), at=MONDAY + timedelta(days=2)),
        applied(ada, Job(title="a2"), at=MONDAY + timedelta(days=1)),
    )
    rows = texts_of(sheet_of(await ada.get("/export/excel", at_least=position)))
    assert [row[2] for row in rows] == ["a2", "a1", "a1b", "f2", "f0"]
    assert rows == rows_of(await ada.get("/export/csv", at_least=position))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"include_successful": "no"}, ["f"]),
        ({"include_failed": "0"}, ["new", "old"]),
        ({"include_successful": "false", "include_failed": "OFF"}, []),
        ({"portal": "XING", "stream": "true"}, ["new"]),
        ({"date_to": "2026-03-02"}, ["old", "f"]),
    ],
)
async def test_filters(api: Api, ada: User, query: dict[str, str], expected: list[str]) -> None:
    tuesday = MONDAY + timedelta(days=1)
    stories = [
        applied(ada, Job(title="old")),
        applied(ada, Job(title="new", portal="Xing"), at=tuesday),
        refused(ada, Job(title="f")),
    ]
    answer = await ada.get("/export/excel", at_least=await happened(api, *stories), **query)
    assert [row[2] for row in texts_of(sheet_of(answer))] == expected


async def test_another_users_rows_are_not_in_it(api: Api, ada: User, bob: User) -> None:
    position = await happened(api, applied(bob, Job(title="his")))
    assert texts_of(sheet_of(await ada.get("/export/excel", at_least=position))) == []


@pytest.mark.parametrize(("name", "value"), [("include_failed", "maybe"), ("date_from", "yesterday")])
async def test_a_query_that_cannot_be_used_is_refused(ada: User, name: str, value: str) -> None:
    refusal = (await ada.ask("GET", "/export/excel", params={name: value})).refused(422, "ERR_1001", "ValidationError")
    assert refusal["details"][0]["field"] == name


# -- how it looks -----------------------------------------------------------------------------------------------------


async def test_the_heading_is_white_on_blue_and_stays_in_sight(ada: User) -> None:
    sheet = sheet_of(await ada.get("/export/excel"))
    assert sheet.dimensions == "A1:I1"
    for cell, heading in zip(sheet[1], HEADING.split(","), strict=True):
        assert (cell.value, cell.data_type) == (heading, "s")
        assert (cell.font.bold, cell.font.color.rgb) == (True, "FFFFFFFF")
        assert (cell.fill.fill_type, cell.fill.fgColor.rgb) == ("solid", "FF4472C4")
        assert cell.alignment.horizontal == "center"
    assert sheet.freeze_panes == "A2"


async def test_rows_are_green_or_red_from_end_to_end(api: Api, ada: User) -> None:
    position = await happened(api, applied(ada, Job(title="a")), refused(ada, Job()))
    sheet = sheet_of(await ada.get("/export/excel", at_least=position))
    for number, colour in ((2, "FFC6EFCE"), (3, "FFFFC7CE")):
        cells = sheet[number]
        assert (cells[0].column, cells[-1].column) == (1, 9)
        assert {(cell.fill.fill_type, cell.fill.fgColor.rgb) for cell in cells} == {("solid", colour)}
        assert not any(cell.font.bold for cell in cells)
    assert [cell.value for cell in sheet[3]][1:5] == [None] * 4


async def test_columns_are_as_wide_as_their_longest_text(api: Api, ada: User) -> None:
    jobs = [
        Job(title="t" * 30, company_name="c" * 47, location="l" * 49),
        Job(title="t" * 31, location="l" * 2_000),
    ]
    sheet = sheet_of(await ada.get("/export/excel", at_least=await happened(api, applied(ada, *jobs))))
    entry_id, at = 32 + len("-1"), len("2026-03-02T12:00:00Z")
    longest = [entry_id, len("Portal"), 31, 47, 50 - 2, len("success"), at, at, len("Error Reason")]
    assert widths_of(sheet) == [length + 2 for length in longest]


# -- too many ---------------------------------------------------------------------------------------------------------


async def test_more_rows_than_allowed_are_told_before_building_and_the_way_out_as_well(
    three: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = three.user()
    position = await happened(three, applied(ada, Job(), Job(portal="Xing")), refused(ada, Job()))
    assert len(texts_of(sheet_of(await ada.get("/export/excel", at_least=position)))) == 3
    position = await happened(three, refused(ada, Job()))
    monkeypatch.setattr(exports.Export, "pages", None)  # not a row is read
    refusal = (await ada.get("/export/excel", at_least=position)).refused(422, "ERR_1001", "ValidationError")
    assert "more than 3 rows" in refusal["message"]
    assert "/export/csv?stream=true" in refusal["message"]
    assert (await ada.ask("HEAD", "/export/excel")).status == 422
    monkeypatch.undo()
    for name, value in (("portal", "xing"), ("include_failed", "false"), ("include_successful", "false")):
        assert texts_of(sheet_of(await ada.ask("GET", "/export/excel", params={name: value})))


async def test_rows_that_come_while_it_is_built_count_as_well(three: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = three.user()
    position = await happened(three, applied(ada, Job(), Job()), refused(ada, Job(), Job()))

    async def before(self: exports.Export, most: int) -> int:
        return 3

    monkeypatch.setattr(exports.Export, "count", before)
    refusal = (await ada.get("/export/excel", at_least=position)).refused(422, "ERR_1001", "ValidationError")
    assert "/export/csv?stream=true" in refusal["message"]


# -- while it is built ------------------------------------------------------------------------------------------------


async def test_head_tells_without_building(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports.Export, "pages", None)
    answer = await ada.ask("HEAD", "/export/excel")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"", EXCEL)


async def test_others_are_answered_and_who_goes_away_ends_it(
    api: Api, ada: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even while its program hangs."""
    position = await happened(api, applied(ada, *(Job(title="x" * 2_000) for _ in range(30))))
    submitted = await bob.submit()
    monkeypatch.setattr(exports, "PAGE", 1)
    _, writer = await asyncio.open_connection(*api.url.removeprefix("http://").split(":"))
    headers = f"Host: x\r\nAuthorization: Bearer {ada.token}\r\nX-Event-Position: {position}"
    writer.write(f"GET /export/excel HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    await until(lambda: _stopped(children_running(PROGRAM)))
    for _ in range(20):
        assert (await bob.get(submitted.json["status_url"])).status == 200
    assert children_running(PROGRAM)
    writer.close()
    await until(lambda: not children_running(PROGRAM))
    assert len(texts_of(sheet_of(await ada.get("/export/excel", at_least=position)))) == 30


def _stopped(processes: list[int]) -> bool:
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    return bool(processes)
