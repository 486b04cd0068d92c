"""The summary, and exports as CSV (contract http.md 8.1, 8.2). Hostile texts: test_http_8_read_back."""

import re
from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain.job import Job
from projections import exports
from projections.view import BuildName
from tests.api import Api, User
from tests.exporting import HEADING, MONDAY, applied, applied_after, happened, refused, rows_of, titles, went_on

pytestmark = pytest.mark.asyncio(loop_scope="module")


# -- summary ----------------------------------------------------------------------------------------------------------


async def test_the_summary_counts_entries_and_names_portals(api: Api, ada: User, bob: User) -> None:
    position = await happened(
        api,
        applied(ada, Job(portal="Xing"), Job(portal="linkedin")),
        refused(ada, Job(portal="LinkedIn"), Job()),
        applied(bob, Job(portal="Monster")),
    )
    answer = await ada.get("/export/summary", at_least=position)
    assert answer.json == {
        "total_applications": 4,
        "successful_applications": 2,
        "failed_applications": 2,
        "available_portals": ["LinkedIn", "Xing"],
        "export_formats": ["csv", "excel"],
    }
    assert answer.position >= position


async def test_the_summary_of_nothing_is_zero(ada: User) -> None:
    told = (await ada.get("/export/summary")).json
    assert (told["total_applications"], told["available_portals"]) == (0, [])


# -- csv --------------------------------------------------------------------------------------------------------------


async def test_a_file_byte_by_byte(api: Api, ada: User) -> None:
    first = applied(ada, Job(title="Baker", portal="Xing", company_name="Crumb & Co", location="Graz"))
    second = refused(ada, Job(title='The "best"', location="a,b"), at=MONDAY + timedelta(days=1))
    position = await happened(api, first, second)
    answer = await ada.get("/export/csv", at_least=position)
    at = first.recorded()[-2].metadata.at.isoformat().replace("+00:00", "Z")
    assert answer.body.decode() == (
        f"{HEADING}\r\n"
        f"{first.id.hex},Xing,Baker,Crumb & Co,Graz,success,2026-03-02T12:00:00Z,{at},\r\n"
        f'{second.id.hex},,"The ""best""",,"a,b",failed,2026-03-03T12:00:00Z,,Position closed\r\n'
    )
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r"attachment; filename=applications_\d{8}_\d{6}\.csv", answer.headers["Content-Disposition"])
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.position >= position


async def test_successes_come_first_and_the_newest_first_in_each(api: Api, ada: User) -> None:
    days = [MONDAY + timedelta(days=n) for n in range(3)]
    stories = [
        refused(ada, Job(title="f0"), at=days[0]),
        applied(ada, Job(title="a1"), Job(title="a1b"), at=days[1]),
        refused(ada, Job(title="f2"), at=days[2]),
        applied(ada, Job(title="a0"), at=days[0]),
    ]
    answer = await ada.get("/export/csv", at_least=await happened(api, *stories))
    assert titles(answer) == ["a1", "a1b", "a0", "f2", "f0"]


async def test_of_nothing_there_is_the_heading(ada: User) -> None:
    assert (await ada.get("/export/csv")).body.decode() == f"{HEADING}\r\n"
    assert (await ada.get("/export/csv", stream="true")).body.decode() == f"{HEADING}\r\n"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"include_successful": "no"}, ["f"]),
        ({"include_failed": "0"}, ["new", "old"]),
        ({"include_successful": "false", "include_failed": "OFF"}, []),
        ({"portal": "XING"}, ["new"]),
        ({"portal": ""}, ["new", "old", "f"]),
        ({"date_from": "2026-03-03"}, ["new"]),
        ({"date_to": "2026-03-02"}, ["old", "f"]),
        ({"title": "nobody filters by it"}, ["new", "old", "f"]),
    ],
)
async def test_filters(api: Api, ada: User, query: dict[str, str], expected: Sequence[str]) -> None:
    tuesday = MONDAY + timedelta(days=1)
    stories = [
        applied(ada, Job(title="old")),
        applied(ada, Job(title="new", portal="Xing"), at=tuesday),
        refused(ada, Job(title="f")),
    ]
    assert titles(await ada.get("/export/csv", at_least=await happened(api, *stories), **query)) == expected


@pytest.mark.parametrize("yes", ["true", "1", "yes", "on", "TRUE", "Yes", "oN"])
@pytest.mark.parametrize("no", ["false", "0", "no", "off", "False", "NO", "oFf"])
async def test_a_boolean_is_written_in_many_ways(api: Api, ada: User, yes: str, no: str) -> None:
    position = await happened(api, applied(ada, Job(title="a")), refused(ada, Job(title="f")))
    query = {"include_successful": no, "include_failed": yes}
    assert titles(await ada.get("/export/csv", at_least=position, **query)) == ["f"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("include_failed", "maybe"), ("stream", "2"), ("date_from", "yesterday"), ("include_successful", "tru")],
)
async def test_a_query_that_cannot_be_used_is_refused(ada: User, name: str, value: str) -> None:
    answer = await ada.ask("GET", "/export/csv", params={name: value})
    refusal = answer.refused(422, "ERR_1001", "ValidationError")
    assert refusal["details"][0]["field"] == name


# -- many -------------------------------------------------------------------------------------------------------------


async def many(api: Api, user: User, monkeypatch: pytest.MonkeyPatch) -> int:
    """More than a page of each list."""
    monkeypatch.setattr(exports, "PAGE", 7)
    jobs = [Job(title=f"t{n}") for n in range(15)]
    return await happened(api, applied(user, *jobs), refused(user, *jobs[:14]))


async def test_the_stream_has_the_same_bytes_and_no_length(
    api: Api, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = await many(api, ada, monkeypatch)
    whole = await ada.get("/export/csv", at_least=position)
    streamed = await ada.get("/export/csv", at_least=position, stream="true")
    assert streamed.body == whole.body
    assert len(rows_of(whole)) == 29
    assert len({row[0] for row in rows_of(whole)}) == 29
    assert "Content-Length" not in streamed.headers
    assert streamed.headers["Transfer-Encoding"] == "chunked"


async def test_what_exists_throughout_is_in_it_once_while_others_move_come_and_go(
    api: Api, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two pages one entry moves from the failed to the applied, one goes, and one comes."""
    days = [MONDAY + timedelta(days=n) for n in range(30)]
    steady = [(applied if n % 2 else refused)(ada, Job(), Job(), Job(), at=day) for n, day in enumerate(days)]
    movers, leavers = ([refused(ada, Job(), at=day) for day in days] for _ in range(2))
    position = await happened(api, *steady, *movers, *leavers)
    monkeypatch.setattr(exports, "PAGE", 10)
    read, pages = exports.Export._page, 0

    async def after_a_change(self: exports.Export, build: BuildName, before: str | None) -> exports.Rows:
        nonlocal pages
        await went_on(api, movers[pages], applied_after(movers[pages].retried()))
        await went_on(api, leavers[-pages], leavers[-pages].retried().cancelled())
        await happened(api, applied(ada, Job(), at=days[pages]))
        pages += 1
        return await read(self, build, before)

    monkeypatch.setattr(exports.Export, "_page", after_a_change)
    ids = [row[0] for row in rows_of(await ada.get("/export/csv", at_least=position, stream="true"))]
    assert pages > 8
    assert len(ids) == len(set(ids))
    throughout = [story.application.entry_id(n) for story in steady for n in (1, 2, 3)]
    throughout += [story.id.hex for story in (*movers[pages:], *leavers[1:-pages])]
    assert set(throughout) <= set(ids)
    assert {story.id.hex for story in movers[:pages]} & set(ids), "some have moved before they were read"


async def test_head_tells_without_a_body(ada: User) -> None:
    answer = await ada.ask("HEAD", "/export/csv")
    assert (answer.status, answer.body) == (200, b"")


async def test_what_breaks_off_does_not_end_cleanly(api: Api, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection goes away under the export."""
    position = await many(api, ada, monkeypatch)
    read, pages = exports.Export._page, 0

    async def dropped(self: exports.Export, build: BuildName, before: str | None) -> exports.Rows:
        nonlocal pages
        pages += 1
        gone = BuildName(build.model, build.version, 99)
        return await read(self, build if pages < 3 else gone, before)

    monkeypatch.setattr(exports.Export, "_page", dropped)
    headers = f"Host: x\r\nAuthorization: Bearer {ada.token}\r\nX-Event-Position: {position}"
    said = await broken_off(api, f"GET /export/csv?stream=true HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b",t0," in said
    assert not said.endswith(b"0\r\n\r\n")
    pages = 0
    whole = await ada.get("/export/csv", at_least=position)
    whole.refused(503, "ERR_5004", "ReadModelBehindError")


async def broken_off(api: Api, request: bytes) -> bytes:
    try:
        return await api.say(request)
    except ConnectionError:
        return b"HTTP/1.1 200 ,t0, reset"


async def test_it_waits_for_a_position_that_is_asked_for(still: Api) -> None:
    ada = still.user()
    submitted = await ada.submit()
    for path in ("/export/csv", "/export/excel", "/export/summary"):
        (await ada.get(path, at_least=submitted.position)).refused(503, "ERR_5004", "ReadModelBehindError")
