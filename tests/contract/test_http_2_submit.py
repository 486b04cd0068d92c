"""POST /applications (contract http.md 1.1, 1.8, 2)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from aiohttp import FormData

from domain.application_events import ApplicationSubmitted
from infra import metrics
from tests.api import PDF, Answer, Api, Part, User, cv_part, part, running_api, settings_for
from tests.pdfs import MARY, a_pdf

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = '{"jobs": [{"title": "Baker"}]}'
KB = 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """An API with limits that a test can reach."""
    folder: Path = tmp_path_factory.mktemp("small")
    limits = {"max_body_bytes": 64 * KB, "max_cv_bytes": 8 * KB, "max_jobs_per_application": 3}
    settings = settings_for(f"sqlite:///{folder}/events.db", mongodb_uri, f"test_{folder.name}", **limits)
    async with running_api(settings, projected=False) as small:
        yield small


async def stored(api: Api, answer: Answer) -> ApplicationSubmitted:
    """What the log holds of a submission."""
    assert answer.status == 200, answer.body
    [recorded] = await api.event_store.log.read_stream(UUID(answer.json["application_id"]))
    assert isinstance(recorded.event, ApplicationSubmitted)
    return recorded.event


# -- accepted ---------------------------------------------------------------------------------------------------------


async def test_a_submission_is_answered_with_where_to_follow_it(ada: User) -> None:
    answer = await ada.submit({"jobs": [{"title": "Baker"}, {"title": "Miller"}]}, style="modern")
    id = answer.json["application_id"]
    assert (answer.status, len(id)) == (200, 32)
    assert answer.json == {
        "application_id": id,
        "status": "pending",
        "status_url": f"/applications/{id}/status",
        "job_count": 2,
        "created_at": answer.json["created_at"],
    }
    assert answer.json["created_at"].endswith("Z")
    assert answer.headers["Content-Type"] == "application/json"


async def test_after_the_200_it_is_in_the_log_as_it_was_sent(api: Api, ada: User) -> None:
    job = {
        "id": "j-1", "portal": "LinkedIn", "title": "Bäcker \U0001f950", "workplace_type": "on-site", "field": "food",
        "posted_date": "2025-02-27", "job_state": "open", "description": "D" * 50_000, "apply_link": "https://x.org/1",
        "company_name": "Crumb & Co", "location": "Graz", "short_description": "Bake", "company_logo": "l.png",
        "experience": "2 years", "skills_required": ["rye", "wheat"],
    }  # fmt: skip
    event = await stored(api, await ada.submit({"jobs": [job, {}]}, style="classic"))
    assert orjson.loads(event.jobs[0].model_dump_json()) == job
    assert set(event.jobs[1].model_dump().values()) == {None}
    assert (event.style, event.cv) == ("classic", None)


async def test_urlencoded_is_as_good_where_there_is_no_file(api: Api, ada: User) -> None:
    body = urlencode({"jobs": '{"jobs": [{"title": "a+b & c=%41 é"}]}', "style": "two words"})
    event = await stored(api, await ada.send(body, "application/x-www-form-urlencoded"))
    assert (event.jobs[0].title, event.style) == ("a+b & c=%41 é", "two words")


async def test_a_large_urlencoded_form_is_read_too(api: Api, ada: User) -> None:
    document = orjson.dumps({"jobs": [{"description": "é" * 50_000}] * 20})
    event = await stored(api, await ada.send(f"jobs={quote(document)}", "application/x-www-form-urlencoded"))
    assert event.jobs[19].description == "é" * 50_000


async def test_company_is_read_as_company_name_and_unknown_keys_are_dropped(api: Api, ada: User) -> None:
    jobs = [{"company": "A"}, {"company": "A", "company_name": "B"}, {"salary": 5, "title": None}]
    event = await stored(api, await ada.submit({"jobs": jobs, "more": 1}))
    assert [job.company_name for job in event.jobs] == ["A", "B", None]


async def test_a_submission_is_counted(ada: User) -> None:
    before = metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated")
    jobs = metrics.APPLICATION_JOBS_COUNT.count()
    await ada.submit()
    assert metrics.APPLICATIONS_SUBMITTED_TOTAL.value(user_type="authenticated") == before + 1
    assert metrics.APPLICATION_JOBS_COUNT.count() == jobs + 1


async def test_a_cv_is_stored_before_the_event_that_names_it(api: Api, ada: User) -> None:
    pdf = a_pdf(MARY)
    event = await stored(api, await ada.submit(cv=pdf))
    assert event.cv is not None
    assert event.cv.size == len(pdf)
    assert await api.deps.cvs.read(event.cv.id) == pdf


async def test_the_same_cv_of_two_users_is_two_documents(api: Api, ada: User, bob: User) -> None:
    hers, his = [await stored(api, await user.submit(cv=PDF)) for user in (ada, bob)]
    assert hers.cv
    assert his.cv
    assert hers.cv.sha256 == his.cv.sha256
    assert hers.cv.id != his.cv.id


# -- the form ---------------------------------------------------------------------------------------------------------


async def test_unknown_fields_are_ignored(api: Api, ada: User) -> None:
    answer = await ada.send_parts(part("x", b"\xff" * 100_000), part("jobs", ONE), part("", "y"), part("x", "z"))
    assert (await stored(api, answer)).jobs[0].title == "Baker"


async def test_an_empty_style_counts_as_not_sent(api: Api, ada: User) -> None:
    assert (await stored(api, await ada.submit(style=""))).style is None


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "UTF-8", "utf-16"])
async def test_a_text_field_may_name_its_charset(api: Api, ada: User, charset: str) -> None:
    content = "schön".encode(charset)
    answer = await ada.send_parts(part("jobs", ONE), part("style", content, type=f"text/plain; charset={charset}"))
    assert (await stored(api, answer)).style == "schön"


@pytest.mark.parametrize("charset", ["utf-7", "idna", "zip", "no-such", "unicode_escape"])
async def test_a_charset_that_is_not_known_is_refused(ada: User, charset: str) -> None:
    answer = await ada.send_parts(part("jobs", ONE), part("style", "x", type=f"text/plain; charset={charset}"))
    body = answer.refused(422, "ERR_1001", "ValidationError")
    assert body["details"][0]["field"] == "style"


async def test_the_order_of_the_fields_and_what_surrounds_them_do_not_matter(api: Api, ada: User) -> None:
    body = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=style\r\n\r\nx\r\n--b\r\n"
    body += b'content-disposition: form-data; name="jobs"\r\n\r\n' + ONE.encode() + b"\r\n--b--\r\nepilogue"
    event = await stored(api, await ada.send(body, 'Multipart/Form-Data; boundary="b"'))
    assert event.style == "x"


@pytest.mark.parametrize("document", [None, ""])
async def test_jobs_are_required(ada: User, document: str | None) -> None:
    fields = [part("style", "modern")] + ([part("jobs", document)] if document is not None else [])
    body = (await ada.send_parts(*fields)).refused(422, "ERR_1001", "ValidationError")
    assert body["details"] == [{"code": "ERR_1001", "message": "Field required", "field": "jobs"}]


async def test_a_long_style_is_refused(api: Api, ada: User) -> None:
    assert (await stored(api, await ada.submit(style="é" * 100))).style == "é" * 100
    for style in ("x" * 101, "x" * 100_000):
        body = (await ada.submit(style=style)).refused(422, "ERR_1001", "ValidationError")
        assert body["details"][0]["field"] == "style"


@pytest.mark.parametrize("name", ["jobs", "style"])
async def test_a_field_that_is_sent_twice_is_refused(ada: User, name: str) -> None:
    answer = await ada.send_parts(part("jobs", ONE), part("style", "x"), part(name, ONE))
    assert answer.refused(422, "ERR_1001", "ValidationError")["details"][0]["field"] == name
    urlencoded = await ada.send(f"jobs={ONE}&style=x&{name}={ONE}", "application/x-www-form-urlencoded")
    urlencoded.refused(422, "ERR_1001", "ValidationError")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "multipart/mixed; boundary=b", "x"])
async def test_other_content_types_are_refused(ada: User, content_type: str) -> None:
    (await ada.send(ONE, content_type)).refused(415, "ERR_1007", "UnsupportedMediaTypeError")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"no boundary in it"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n{"jobs": [{}]}',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--b--'),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * 300),
        ("application/x-www-form-urlencoded", b"&" * 300),
        ("application/x-www-form-urlencoded", b"style=%ff&jobs=x"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(ada: User, content_type: str, body: bytes) -> None:
    (await ada.send(body, content_type)).refused(422, "ERR_1001", "ValidationError")


async def test_a_body_in_tiny_pieces_is_read_as_one(api: Api, ada: User) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in f'--b\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n{ONE}\r\n--b--\r\n'.encode():
            yield bytes([byte])

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    await stored(api, await ada.ask("POST", "/applications", headers, data=pieces()))


async def test_a_broken_compressed_body_is_refused(ada: User) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    answer = await ada.ask("POST", "/applications", headers, data=b"this is not gzip")
    answer.refused(422, "ERR_1001", "ValidationError")


# -- the jobs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "x",
        " ",
        "null",
        "[]",
        '"jobs"',
        "{}",
        '{"jobs": null}',
        '{"jobs": {}}',
        '{"jobs": "x"}',
        '{"jobs": []}',
        '{"jobs": [null]}',
        '{"jobs": [[]]}',
        '{"jobs": [{}]} x',
        '{"jobs": [{"title": NaN}]}',
        '{"jobs": [{"title": "\\ud800"}]}',
        '{"jobs": ' + "[" * 100_000,
        "\ufeff" + ONE,
    ],
)
async def test_jobs_that_are_no_jobs_are_refused(ada: User, document: str) -> None:
    (await ada.submit(document)).refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize("raw", [b'{"jobs": [{"title": "\xff"}]}', b'{"jobs": [{"title": "\xed\xa0\x80"}]}'])
async def test_jobs_must_be_utf_8(ada: User, raw: bytes) -> None:
    (await ada.send_parts(part("jobs", raw))).refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"id": 5}, "jobs[1].id"),
        ({"title": True}, "jobs[1].title"),
        ({"company": 7}, "jobs[1].company"),
        ({"title": "x" * 2001}, "jobs[1].title"),
        ({"description": "x" * 50_001}, "jobs[1].description"),
        ({"skills_required": "rye"}, "jobs[1].skills_required"),
        ({"skills_required": ["rye", 3]}, "jobs[1].skills_required[1]"),
        ({"skills_required": ["x" * 201]}, "jobs[1].skills_required[0]"),
        ({"skills_required": ["x"] * 201}, "jobs[1].skills_required"),
        ("x", "jobs[1]"),
    ],
)
async def test_the_field_of_a_bad_job_is_named(ada: User, job: Any, field: str) -> None:
    body = (await ada.submit({"jobs": [{}, job]})).refused(422, "ERR_3002", "InvalidJobDataError")
    assert [one["field"] for one in body["details"]] == [field]
    assert {one["code"] for one in body["details"]} == {"ERR_3002"}


async def test_every_bad_field_is_named_up_to_a_bound(ada: User) -> None:
    body = (await ada.submit({"jobs": [{"id": 1, "title": 2}, {"field": 3}]})).refused(
        422, "ERR_3002", "InvalidJobDataError"
    )
    assert [one["field"] for one in body["details"]] == ["jobs[0].id", "jobs[0].title", "jobs[1].field"]
    many = (await ada.submit({"jobs": [{"skills_required": [1] * 200}] * 500})).json["details"]
    assert len(many) == 100


async def test_what_was_sent_is_not_sent_back(ada: User) -> None:
    answer = await ada.submit({"jobs": [{"title": 123456789}]})
    assert b"123456789" not in answer.body


async def test_the_most_jobs_are_500(api: Api, ada: User) -> None:
    assert len((await stored(api, await ada.submit({"jobs": [{}] * 500}))).jobs) == 500
    for count in (501, 100_000):
        body = (await ada.submit({"jobs": [{}] * count})).refused(422, "ERR_3002", "InvalidJobDataError")
        assert body["details"][0]["field"] == "jobs"


async def test_the_setting_bounds_the_jobs(small: Api) -> None:
    assert (await small.user().submit({"jobs": [{}] * 3})).status == 200
    (await small.user().submit({"jobs": [{}] * 4})).refused(422, "ERR_3002", "InvalidJobDataError")


async def test_the_jobs_field_holds_4_mib(ada: User) -> None:
    job = {"description": "x" * 45_000}
    assert (await ada.submit({"jobs": [job] * 90})).status == 200
    (await ada.submit({"jobs": [job] * 94})).refused(422, "ERR_3002", "InvalidJobDataError")
    urlencoded = await ada.send(b"jobs=" + b"x" * (4 * KB * KB + 1), "application/x-www-form-urlencoded")
    urlencoded.refused(422, "ERR_3002", "InvalidJobDataError")


@pytest.mark.parametrize("title", ["\x00", "a\x00b", "\u202e", "\U0010ffff", "\ufffe", "\x7f\r\n"])
async def test_any_unicode_is_kept(api: Api, ada: User, title: str) -> None:
    event = await stored(api, await ada.submit({"jobs": [{"title": title}]}))
    assert event.jobs[0].title == title


# -- the CV -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (b"GIF89a", "application/pdf"),
        (b"x" * 1020 + b"%PDF-1.7", "application/pdf"),
        (b"x" * 5000, "application/pdf"),
        (b"", "application/pdf"),
        (PDF, "text/plain"),
        (PDF, "application/octet-stream"),
        (PDF, ""),
    ],
)
async def test_a_cv_that_is_no_pdf_is_refused(ada: User, content: bytes, type: str) -> None:
    answer = await ada.send_parts(part("jobs", ONE), cv_part(content, type=type))
    body = answer.refused(400, "ERR_4002", "InvalidResumeFormatError")
    assert body["details"][0]["field"] == "cv"


@pytest.mark.parametrize("type", ["application/pdf", "Application/PDF", "application/pdf; charset=binary"])
async def test_a_pdf_is_known_by_type_and_mark(api: Api, ada: User, type: str) -> None:
    content = b"x" * 1019 + PDF
    event = await stored(api, await ada.send_parts(part("jobs", ONE), cv_part(content, type=type)))
    assert event.cv
    assert event.cv.size == len(content)


@pytest.mark.parametrize("empty", [cv_part(b"", filename=""), part("cv", ""), part("cv", "", type="application/pdf")])
async def test_an_empty_part_without_a_file_name_is_no_cv(api: Api, ada: User, empty: Part) -> None:
    assert (await stored(api, await ada.send_parts(part("jobs", ONE), empty))).cv is None


async def test_a_cv_as_a_text_is_refused_unless_it_is_empty(ada: User) -> None:
    urlencoded = "application/x-www-form-urlencoded"
    (await ada.send(f"jobs={ONE}&cv=%25PDF-", urlencoded)).refused(400, "ERR_4002", "InvalidResumeFormatError")
    assert (await ada.send(f"jobs={ONE}&cv=", urlencoded)).status == 200


async def test_two_cvs_are_refused(ada: User) -> None:
    answer = await ada.send_parts(part("jobs", ONE), cv_part(PDF), cv_part(PDF))
    assert answer.refused(422, "ERR_1001", "ValidationError")["details"][0]["field"] == "cv"


async def test_a_cv_over_its_limit_is_refused(small: Api) -> None:
    user = small.user()
    assert (await user.submit(cv=PDF.ljust(8 * KB))).status == 200
    (await user.submit(cv=PDF.ljust(8 * KB + 1))).refused(413, "ERR_4003", "ResumeUploadError")


async def test_the_published_limit_of_a_cv_holds(api: Api, ada: User) -> None:
    most = 10 * KB * KB
    event = await stored(api, await ada.submit(cv=PDF.ljust(most)))
    assert event.cv
    assert len(await api.deps.cvs.read(event.cv.id) or b"") == most
    (await ada.submit(cv=PDF.ljust(most + 1))).refused(413, "ERR_4003", "ResumeUploadError")


async def test_a_cv_of_a_refused_submission_is_not_stored(api: Api, ada: User) -> None:
    stored_before = await _cvs(api)
    (await ada.submit({"jobs": []}, cv=PDF + ada.id.encode())).refused(422, "ERR_3002", "InvalidJobDataError")
    assert await _cvs(api) == stored_before


async def _cvs(api: Api) -> int:
    return int(await api.deps.cvs._cvs.count_documents({}))


# -- the whole body ---------------------------------------------------------------------------------------------------


async def test_a_body_over_its_limit_is_refused_before_it_is_read(small: Api) -> None:
    head = (
        f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.user().token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {64 * KB + 1}\r\n\r\n"
    )
    read = await small.say(head.encode(), wait=lambda read: b"ERR_1006" in read)
    assert read.startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_unknown_length_is_refused_while_it_is_read(small: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n"
        while sent < 10 * KB * KB:
            sent += 16 * KB
            yield b"x" * 16 * KB

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await small.user().ask("POST", "/applications", headers, data=endless())
    answer.refused(413, "ERR_1006", "PayloadTooLargeError")
    assert sent < 10 * KB * KB


async def test_a_compressed_body_is_bounded_by_what_it_holds(small: Api) -> None:
    form = FormData(default_to_multipart=True)
    form.add_field("jobs", ONE)
    form.add_field("x", "x" * 100 * KB)
    answer = await small.user().ask("POST", "/applications", data=form, compress="gzip")
    answer.refused(413, "ERR_1006", "PayloadTooLargeError")


async def test_the_connection_can_be_used_again_after_a_refusal(api: Api, ada: User) -> None:
    for _ in range(3):
        (await ada.send("x" * 1000, "text/plain")).refused(415, "ERR_1007", "UnsupportedMediaTypeError")
        assert (await ada.submit()).status == 200


async def test_a_caller_who_goes_away_half_way_leaves_nothing(api: Api, ada: User) -> None:
    head = await api.event_store.log.head()
    request = (
        f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; name=jobs\r\n\r\n"
    )
    host, _, port = api.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    await writer.drain()
    writer.transport.abort()
    assert (await ada.submit()).status == 200
    assert await api.event_store.log.head() == head + 1
