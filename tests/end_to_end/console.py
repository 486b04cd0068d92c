"""A person at the console: a real browser, on a whole service that runs."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, ViewportSize, expect

from tests.end_to_end.service import Client, Service, token
from tests.pdfs import MARY, a_pdf

DESKTOP, PHONE = ViewportSize(width=1280, height=860), ViewportSize(width=390, height=844)
SOON = 15_000.0  # milliseconds
PICTURES = Path(".data/screenshots")
OPERATOR = {"is_admin": True, "admin_role": "operator"}

expect.set_options(timeout=SOON)


@dataclass
class Person:
    """Somebody with a page of the console before him. `troubles` is what a developer would see of it."""

    page: Page
    url: str
    user: str
    claims: dict[str, Any] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # requests to anywhere but the service
    _asked_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(one in message.text for one in self._asked_for):
            self.troubles.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def expected(self, *troubles: str) -> None:
        """Of what went wrong until now this was asked for: the browser tells of each answer that is no 2xx."""
        self.troubles[:] = [text for text in self.troubles if not any(one in text for one in troubles)]

    def expects(self, *troubles: str) -> None:
        """As `expected`, for all that goes wrong from now on: of what is under way it may be told at any time."""
        self._asked_for = troubles

    async def opens(self, address: str = "") -> None:
        await self.page.goto(f"{self.url}/console/{address}")

    async def signs_in(self, **claims: Any) -> None:
        """With a token that lasts an hour, unless `claims` say something else."""
        said = {"exp": int(time.time()) + 3600, **self.claims, **claims}
        await self.page.get_by_label("Token").fill(token(self.user, **said))
        await self.page.get_by_role("button", name="Sign in").click()

    async def is_live(self) -> None:
        await expect(self.page.locator("#connection")).to_contain_text("Live")

    async def goes_to(self, section: str) -> None:
        await self.page.get_by_role("navigation", name="Sections").get_by_role("link", name=section).click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def heading(self, name: str) -> Locator:
        return self.page.get_by_role("heading", name=name)

    async def shows(self, status: str) -> None:
        """What is shown alone, an application or a batch, is in that status."""
        await expect(self.page.locator(".of-one .badge")).to_have_text(status)

    async def says(self, text: str) -> None:
        """A notice, or the page, says so."""
        await expect(self.page.get_by_text(text).first).to_be_visible()

    async def fills_job(self, number: int = 0, **fields: str) -> None:
        card = self.page.locator(".job-form").nth(number)
        for label, value in fields.items():
            await card.get_by_label(label, exact=True).fill(value)

    async def drops_pdf(self, name: str = "mary.pdf", content: bytes | None = None) -> None:
        """As a file that is dragged over the page and let go."""
        body = list(content or a_pdf(MARY))
        dropped = await self.page.evaluate_handle(
            """([name, body]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(body)], name, {type: "application/pdf"}));
                return data;
            }""",
            [name, body],
        )
        await self.page.dispatch_event(".cv", "drop", {"dataTransfer": dropped})

    async def pictured(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


@asynccontextmanager
async def at_console(browser: Browser, service: Service, user: str, **claims: Any) -> AsyncIterator[Person]:
    """In a window of his own. Whatever the page does wrong beside what is asked of it fails."""
    context = await browser.new_context(viewport=DESKTOP, color_scheme="light", accept_downloads=True)
    try:
        person = Person(await context.new_page(), service.url, user, claims)
        await person.opens()
        yield person
        assert person.elsewhere == [], person.elsewhere
        assert person.troubles == [], person.troubles
    finally:
        await context.close()


async def with_worker(service: Service) -> None:
    if "worker" not in service.processes:
        await service.start("worker")


async def without_worker(service: Service) -> None:
    if "worker" in service.processes:
        await service.stop("worker")


def client_of(service: Service, user: str) -> Client:
    """The same user, by program."""
    return Client(service.url, service.sandbox_url, user)


async def all_ended(service: Service, user: str, ids: Sequence[str]) -> None:
    async with client_of(service, user) as client:
        await client.all_ended(ids)
