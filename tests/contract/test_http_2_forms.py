"""POST /applications: the form and its body (contract http.md 1.1, 2)."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import FormData

from tests.api import KB, ONE, Api, User, part

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_unknown_fields_are_ignored(api: Api, ada: User) -> None:
    answer = await ada.send_parts(part("x", b"\xff" * 100_000), part("jobs", ONE), part("", "y"), part("x", "z"))
    assert (await api.stored(answer)).jobs[0].title == "Baker"


async def test_an_empty_style_counts_as_not_sent(api: Api, ada: User) -> None:
    assert (await api.stored(await ada.submit(style=""))).style is None


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "UTF-8", "utf-16"])
async def test_a_text_field_may_name_its_charset(api: Api, ada: User, charset: str) -> None:
    content = "schön".encode(charset)
    answer = await ada.send_parts(part("jobs", ONE), part("style", content, type=f"text/plain; charset={charset}"))
    assert (await api.stored(answer)).style == "schön"


@pytest.mark.parametrize("charset", ["utf-7", "idna", "zip", "no-such", "unicode_escape"])
async def test_a_charset_that_is_not_known_is_refused(ada: User, charset: str) -> None:
    answer = await ada.send_parts(part("jobs", ONE), part("style", "x", type=f"text/plain; charset={charset}"))
    body = answer.refused(422, "ERR_1001", "ValidationError")
    assert body["details"][0]["field"] == "style"


async def test_the_order_of_the_fields_and_what_surrounds_them_do_not_matter(api: Api, ada: User) -> None:
    body = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=style\r\n\r\nx\r\n--b\r\n"
    body += b'content-disposition: form-data; name="jobs"\r\n\r\n' + ONE.encode() + b"\r\n--b--\r\nepilogue"
    event = await api.stored(await ada.send(body, 'Multipart/Form-Data; boundary="b"'))
    assert event.style == "x"


@pytest.mark.parametrize("document", [None, ""])
async def test_jobs_are_required(ada: User, document: str | None) -> None:
    fields = [part("style", "modern")] + ([part("jobs", document)] if document is not None else [])
    body = (await ada.send_parts(*fields)).refused(422, "ERR_1001", "ValidationError")
    assert body["details"] == [{"code": "ERR_1001", "message": "Field required", "field": "jobs"}]


async def test_a_long_style_is_refused(api: Api, ada: User) -> None:
    assert (await api.stored(await ada.submit(style="é" * 100))).style == "é" * 100
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
        ("application/x-www-form-urlencoded", b"style=%ff&jobs=x"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(ada: User, content_type: str, body: bytes) -> None:
    (await ada.send(body, content_type)).refused(422, "ERR_1001", "ValidationError")


@pytest.mark.parametrize(("others", "status"), [(100, 200), (300, 422)])
async def test_a_form_of_very_many_fields_is_refused(ada: User, others: int, status: int) -> None:
    parts = [part("jobs", ONE), *[part("x", "y")] * others]
    assert (await ada.send_parts(*parts)).status == status
    urlencoded = await ada.send(f"jobs={ONE}" + "&x=y" * others, "application/x-www-form-urlencoded")
    assert urlencoded.status == status


async def test_a_body_in_tiny_pieces_is_read_as_one(api: Api, ada: User) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in f'--b\r\nContent-Disposition: form-data; name="jobs"\r\n\r\n{ONE}\r\n--b--\r\n'.encode():
            yield bytes([byte])

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    await api.stored(await ada.ask("POST", "/applications", headers, data=pieces()))


async def test_a_broken_compressed_body_is_refused(ada: User) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    answer = await ada.ask("POST", "/applications", headers, data=b"this is not gzip")
    answer.refused(422, "ERR_1001", "ValidationError")


async def test_a_body_over_its_limit_is_refused_before_it_is_read(small: Api) -> None:
    head = (
        f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.user().token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {64 * KB + 1}\r\n\r\n"
    )
    read = await small.say(head.encode(), wait=lambda read: b"ERR_1006" in read)
    assert read.startswith(b"HTTP/1.1 413 ")


async def test_a_body_over_the_limit_is_refused_where_none_is_read_too(small: Api) -> None:
    head = (
        f"DELETE /applications/{'0' * 32} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.user().token}\r\n"
        f"Content-Length: {64 * KB + 1}\r\n\r\n"
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


async def test_a_caller_who_goes_away_half_way_leaves_nothing_and_is_no_error(
    api: Api, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    head = await api.event_store.log.head()
    request = (
        f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n"
    )
    await api.say(request.encode(), wait=lambda read: b"100 Continue" in read)  # it is being read when he goes
    assert (await ada.submit()).status == 200
    assert await api.event_store.log.head() == head + 1
    assert not [one for one in caplog.records if one.levelname == "ERROR" and one.name.startswith("api")]
