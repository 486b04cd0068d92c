"""Routes, methods, and the one shape of every error (contract http.md 1.1, 1.7)."""

import re

import pytest

from api.app import OPERATIONS
from tests.api import Api, User

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS: dict[str, set[str]] = {}  # of each path
for declared in OPERATIONS:
    METHODS.setdefault(re.sub(r"{\w+}", "x", declared.path), set()).add(declared.method)
PATHS = sorted(METHODS)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/applications/x/y", "/applied/x/y", "/applications//status", "/%2f", "/a/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_an_unknown_path_is_not_found_whatever_the_method(api: Api, ada: User, method: str, path: str) -> None:
    (await api.ask(method, path)).refused(404, "ERR_1002", "NotFoundError")
    (await ada.ask(method, path)).refused(404, "ERR_1002", "NotFoundError")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_another_method_is_told_which_are_allowed(api: Api, method: str, path: str) -> None:
    if method in METHODS[path]:
        return
    answer = await api.ask(method, path)
    answer.refused(405, "ERR_1005", "MethodNotAllowedError")
    head = {"HEAD"} if "GET" in METHODS[path] else set()
    assert answer.headers["Allow"] == ", ".join(sorted(METHODS[path] | head))


async def test_an_action_is_not_got_and_a_list_not_posted(api: Api, ada: User) -> None:
    assert (await ada.get(f"/applications/{'0' * 32}/retry")).refused(405, "ERR_1005", "MethodNotAllowedError")
    assert (await ada.ask("POST", "/applied")).refused(405, "ERR_1005", "MethodNotAllowedError")


@pytest.mark.parametrize("path", [path for path in PATHS if "GET" in METHODS[path]])
async def test_head_answers_as_get_does_without_a_body(api: Api, path: str) -> None:
    somebody = api.user(is_admin=True, admin_role="operator")
    got, asked = await somebody.get(path), await somebody.ask("HEAD", path)
    assert (asked.status, asked.body) == (got.status, b"")
    assert {name.lower() for name in asked.headers} >= {name.lower() for name in got.headers} - BODYS
    assert asked.headers.get("Content-Type") == got.headers.get("Content-Type")


BODYS = {"content-length", "transfer-encoding"}


@pytest.mark.parametrize("path", [path for path in PATHS if not path.endswith("/")])
async def test_a_trailing_slash_leads_to_the_path_without_it(api: Api, path: str) -> None:
    for method, query in (("GET", ""), ("POST", "?a=b&c=%20d")):
        answer = await api.ask(method, f"{path}/{query}")
        assert (answer.status, answer.headers["Location"]) == (308, f"{path}{query}")


@pytest.mark.parametrize("path", ["//example.org/", "/nowhere/", "/..//", "/applied/x/y/", "//applied/"])
async def test_a_slash_leads_nowhere_else(api: Api, path: str) -> None:
    read = await api.say(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert read.startswith(b"HTTP/1.1 404 ")
    assert b"Location" not in read


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"POST /applications HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_cannot_be_read_as_http_gets_the_shape_too(api: Api, request_: bytes) -> None:
    head, _, body = (await api.say(request_)).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"X-Correlation-ID: " in head
    assert b'"code":"ERR_1001"' in body


async def test_a_long_query_is_read(ada: User) -> None:
    assert (await ada.get("/applied", title="x" * 20_000)).status == 200


async def test_a_broken_chunk_is_refused(api: Api, ada: User) -> None:
    head = (
        f"POST /applications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\nTransfer-Encoding: chunked\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
    )
    read = await api.say(head.encode() + b"zz\r\nx\r\n", wait=lambda read: b"ERR_" in read)
    assert b"ERR_1001" in read


async def test_an_odd_expectation_changes_nothing(api: Api, ada: User) -> None:
    assert (await ada.ask("GET", "/applied", {"Expect": "the-unexpected"})).status == 200
    (await api.ask("GET", "/nowhere", headers={"Expect": "x"})).refused(404, "ERR_1002", "NotFoundError")


async def test_a_fault_of_ours_is_told_without_its_text(api: Api, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("mongodb://secret-host:27017 exploded")

    monkeypatch.setattr(type(api.deps.queries), "entries", fail)
    answer = await ada.get("/applied")
    answer.refused(500, "ERR_1000", "InternalError")
    assert b"secret-host" not in answer.body
    assert b"exploded" not in answer.body
