"""A running API over real sockets and real stores, with its projector, and the users who call it."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson

from api.app import Dependencies, create_app
from api.http_server import HttpServer
from api.server import listen, open_dependencies, serve
from domain.application_events import ApplicationSubmitted
from domain.event import Cause
from domain.ports import Append
from infra.event_log import EventStore, open_event_log
from infra.metric_kinds import Role
from infra.mongo import Mongo
from infra.role_server import Heartbeat
from infra.settings import Settings
from infra.tokens import sign_token
from projections.projector import run_projector
from tests.builders import ApplicationStory, an_application
from tests.document import check_answer

SECRET = "a-secret-of-the-tests-that-is-long-enough"
UNLIMITED = {"rate_limit_enabled": False}  # a test makes more requests than a user may
NOWHERE = {"rabbitmq_url": "amqp://guest:guest@127.0.0.1:1/"}  # nothing listens there
ONE = '{"jobs": [{"title": "Baker"}]}'
STREAM = "text/event-stream"
KB = 1024
PDF = b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n%%EOF\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def position(self) -> int:
        return int(self.headers["X-Event-Position"])

    def refused(self, status: int, code: str, error: str) -> dict[str, Any]:
        """Checks the one shape of every error (contract http.md 1.7), and gives the body."""
        assert (self.status, self.json.get("code"), self.json.get("error")) == (status, code, error), self.body
        body: dict[str, Any] = self.json
        assert list(body) == ["error", "code", "message", "correlation_id", "timestamp", "details"]
        assert self.headers["Content-Type"].startswith("application/json")
        assert body["correlation_id"] == self.headers["X-Correlation-ID"] == self.headers["X-Request-ID"]
        assert body["message"]
        assert body["timestamp"].endswith("Z")
        assert body["details"] is None or all(set(one) == {"code", "message", "field"} for one in body["details"])
        return body


Part = tuple[str, bytes]  # its headers, and its content


def part(name: str, content: bytes | str, more: str = "", type: str = "") -> Part:
    """One field of a multipart form."""
    headers = f'Content-Disposition: form-data; name="{name}"{more}' + (f"\r\nContent-Type: {type}" if type else "")
    return headers, content if isinstance(content, bytes) else content.encode()


def cv_part(content: bytes, *, filename: str = "cv.pdf", type: str = "application/pdf") -> Part:
    return part("cv", content, f'; filename="{filename}"', type)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a token."""

    id: str
    url: str
    http: aiohttp.ClientSession
    token: str

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return await _ask(self.http, method, self.url + path, headers=sent, **more)

    async def get(self, path: str, *, at_least: int | None = None, **query: str) -> Answer:
        headers = {} if at_least is None else {"X-Event-Position": str(at_least)}
        return await self.ask("GET", path, headers, params=query)

    async def send(self, body: bytes | str, content_type: str) -> Answer:
        """A submission with this body."""
        content = body if isinstance(body, bytes) else body.encode()
        return await self.ask("POST", "/applications", {"Content-Type": content_type}, data=io.BytesIO(content))

    async def send_parts(self, *parts: Part) -> Answer:
        """A submission of these parts."""
        body = b"".join(b"--b\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts)
        return await self.send(body + b"--b--\r\n", "multipart/form-data; boundary=b")

    async def submit(self, jobs: object = None, *, cv: bytes | None = None, **fields: str) -> Answer:
        """A form as a browser sends it; by default with one job."""
        document = {"jobs": [{"title": "Baker"}]} if jobs is None else jobs
        parts = [part("jobs", document if isinstance(document, str) else orjson.dumps(document))]
        parts += [part(name, value) for name, value in fields.items()]
        return await self.send_parts(*parts, *([] if cv is None else [cv_part(cv)]))


@dataclass(frozen=True, slots=True)
class Api:
    url: str
    deps: Dependencies
    event_store: EventStore
    http: aiohttp.ClientSession

    def user(self, id: str | None = None, **claims: Any) -> User:
        """Somebody new, unless he is named."""
        id = id or f"user-{uuid4().hex[:12]}"
        return User(id, self.url, self.http, token_of(id, **claims))

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Without a token."""
        return await _ask(self.http, method, self.url + path, **more)

    async def stored(self, answer: Answer) -> ApplicationSubmitted:
        """What the log holds of a submission."""
        assert answer.status == 200, answer.body
        [recorded] = await self.event_store.log.read_stream(UUID(answer.json["application_id"]))
        assert isinstance(recorded.event, ApplicationSubmitted)
        return recorded.event

    async def happened(self, story: ApplicationStory) -> int:
        """Puts it into the log as workers would have; the position of its last event."""
        return await self.event_store.log.append(Append(story.recorded()))

    async def say(self, request: bytes, *, wait: Callable[[bytes], bool] | None = None) -> bytes:
        """Sends bytes as they are, and reads until the connection ends, or `wait` has seen enough."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            await writer.drain()
            read = b""
            async with asyncio.timeout(10):
                while chunk := await reader.read(65536):
                    read += chunk
                    if wait and wait(read):
                        break
            return read
        finally:
            writer.close()
            await writer.wait_closed()


async def _ask(http: aiohttp.ClientSession, method: str, url: str, **more: Any) -> Answer:
    """Every answer is held against the OpenAPI document. Of a stream, it is what comes first."""
    async with http.request(method, url, allow_redirects=False, **more) as response:
        body = response.content.readany() if response.content_type == STREAM else response.read()
        answer = Answer(response.status, response.headers, await body)
    check_answer(method, response.request_info.url.raw_path, answer.status, answer.headers, answer.body)
    return answer


def a_story(user: User, *, at: datetime | None = None) -> ApplicationStory:
    """The beginning of an application of that user, with an id of its own."""
    return an_application(uuid4(), user.id, at or datetime(2026, 1, 1, tzinfo=UTC), Cause(f"user:{user.id}"))


def token_of(user: str, **claims: Any) -> str:
    now, life = datetime.now(UTC), timedelta(hours=1)
    return sign_token(user, key=SECRET, algorithm="HS256", issued_at=now, life=life, claims=claims)


def settings_for(event_store: str, mongodb: str, database: str, **more: Any) -> Settings:
    given = {"secret_key": SECRET, "event_store": event_store, "mongodb": mongodb, "mongodb_database": database}
    return Settings(**{**given, **NOWHERE, **UNLIMITED, "mongo_min_pool_size": 0, **more})


@asynccontextmanager
async def running_api(
    settings: Settings, *, projected: bool = True, changed: Callable[[Dependencies], Dependencies] = lambda deps: deps
) -> AsyncIterator[Api]:
    """An API on a free port; `projected=False`: its read models stand still. `changed`: what its handlers get."""
    async with (
        open_event_log(settings.event_store) as event_store,
        open_dependencies(settings) as deps,
        _projector(event_store, settings, projected),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):
        server = HttpServer(create_app(changed(deps)), 1.0)
        await server.setup()
        try:
            site = await listen(server, "127.0.0.1", 0)
            api = Api(f"http://127.0.0.1:{site.port}", deps, event_store, http)
            if projected:
                await until(deps.queries.ready, "the read models are built")
            yield api
        finally:
            await http.close()
            await server.cleanup()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[User, asyncio.Event, asyncio.Task[None]]]:
    """The API as a process runs it: a user of it, what stops it, and its end. Its read models are not projected."""
    stop = asyncio.Event()
    running = asyncio.create_task(serve(settings, stop))
    async with aiohttp.ClientSession() as http:
        user = User("ada", f"http://127.0.0.1:{settings.port}", http, token_of("ada"))
        await until(lambda: answers(user), "it serves")
        try:
            yield user, stop, running
        finally:
            stop.set()
            await running


async def answers(user: User) -> bool:
    try:
        return (await user.get("/health/live")).status == 200
    except aiohttp.ClientConnectionError:
        return False


@asynccontextmanager
async def _projector(event_store: EventStore, settings: Settings, projected: bool) -> AsyncIterator[None]:
    if not projected:
        yield
        return
    stop = asyncio.Event()
    async with Mongo.of(settings) as mongo:
        running = asyncio.create_task(run_projector(event_store, mongo, settings, Heartbeat(Role.PROJECTOR), stop))
        try:
            yield
        finally:
            stop.set()
            await running


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20.0) -> None:
    """Asks again until it is true; fails with `what` was waited for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)
