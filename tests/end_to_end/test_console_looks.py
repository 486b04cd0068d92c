"""How the console looks: axe finds no fault, in light and dark, on a desktop and on a phone; and pictures of it.

The pictures are in `.data/screenshots` afterwards; two of them are in the README, made smaller.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from playwright.async_api import Browser, expect

from tests.end_to_end.console import (
    DESKTOP,
    OPERATOR,
    PHONE,
    Person,
    at_console,
    client_of,
    with_worker,
    without_worker,
)
from tests.end_to_end.service import Client, Service, until
from tests.pdfs import MARY, a_pdf

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

Look = tuple[Literal["desktop", "phone"], Literal["light", "dark"]]
EACH: Sequence[Look] = (("phone", "light"), ("phone", "dark"), ("desktop", "dark"), ("desktop", "light"))
BOTH: Sequence[Look] = (("phone", "dark"), ("desktop", "light"))  # for what is made of the same parts as others
SIZES = {"desktop": DESKTOP, "phone": PHONE}
SCRIPT: str = Axe().axe_script
RUN = "axe.run({resultTypes: ['violations']})"
PAINTED = """async (scheme) => {
    const frame = () => new Promise(requestAnimationFrame);
    while (!matchMedia(`(prefers-color-scheme: ${scheme})`).matches) await frame();
    while (document.getAnimations().some((one) => one.playState === "running")) await frame();
    await frame();
    await frame();
}"""


@asynccontextmanager
async def looked_at(person: Person, name: str, faults: list[str], looks: Sequence[Look] = EACH) -> AsyncIterator[None]:
    """What is shown after the block; adds what is wrong with it."""
    yield
    page = person.page
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(SCRIPT)
    for size, scheme in looks:
        await page.set_viewport_size(SIZES[size])
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.evaluate(PAINTED, scheme)
        found = AxeResults(await page.evaluate(RUN))
        if found.violations_count:
            faults.append(f"{name}, {size}, {scheme}: {found.generate_report()}")
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{name}, {size}: it is wider than its window")
        await person.pictured(f"{name}-{size}-{scheme}")


def a_job(title: str, company: str, portal: str | None, location: str) -> dict[str, Any]:
    return {"title": title, "company_name": company, "portal": portal, "location": location}


ENGINEER = a_job("Backend Engineer", "Lovelace & Co", "LinkedIn", "London") | {
    "short_description": "services that never lose an order",
    "skills_required": ["Python", "PostgreSQL", "RabbitMQ"],
}
DATA = [
    a_job("Data Engineer", "Noether Analytics", "LinkedIn", "Erlangen"),
    a_job("Data Analyst", "Noether Analytics", "LinkedIn", "Erlangen"),
    a_job("Statistician", "Noether Analytics", "Indeed", "Göttingen"),
]
RELIABILITY = a_job("Site Reliability Engineer", "Hamilton Systems", "Indeed", "Boston")
BAKER = a_job("Baker", "Bread & Co", None, "Graz")
COMPILER = a_job("Compiler Engineer", "Hopper Labs", "Xing", "Arlington")
ASSISTANT = a_job("Research Assistant", "Curie Institute", "LinkedIn", "Paris")


async def submitted(client: Client, *jobs: dict[str, Any]) -> str:
    id: str = (await client.post_form("/applications", a_pdf(MARY), jobs=json.dumps({"jobs": jobs}), style="modern"))[
        "application_id"
    ]
    return id


async def of_each_kind(service: Service, client: Client) -> tuple[str, str]:
    """Applications in every status, and a batch on its way; the ids of one that failed, and of the batch.

    Indeed refuses, Xing takes its time. The worker ends by a kill, so what it has stays as it is.
    """
    await without_worker(service)
    cancelled = await submitted(client, BAKER)
    async with client.http.delete(f"{client.url}/applications/{cancelled}", headers=client.headers) as response:
        assert response.status == 200
    ended = [await submitted(client, ENGINEER), await submitted(client, RELIABILITY), await submitted(client, *DATA)]
    items = [{"jobs": [job]} for job in (ENGINEER, ASSISTANT, *DATA, RELIABILITY, COMPILER)]
    batch = await client.post_form("/batch/applications", a_pdf(MARY), items=json.dumps(items))
    working = batch["results"][-1]["application_id"]
    ended += [item["application_id"] for item in batch["results"][:-1]]
    await with_worker(service)
    await client.all_ended(ended)

    async def is_processing() -> bool:
        return await client.status(working) == "processing"

    await until(is_processing, "a worker has it")
    await service.kill("worker")
    await without_worker(service)
    await submitted(client, ASSISTANT)
    return ended[2], batch["batch_id"]


async def test_axe_finds_no_fault_wherever_one_looks(browser: Browser, console_service: Service) -> None:
    faults: list[str] = []
    async with (
        at_console(browser, console_service, "ada", **OPERATOR) as ada,
        client_of(console_service, "ada") as client,
    ):
        page = ada.page
        async with looked_at(ada, "sign-in", faults):
            await page.get_by_label("Token").fill("nonsense")
            await ada.button("Sign in").click()
        await ada.signs_in()
        async with looked_at(ada, "nothing-yet", faults, BOTH):
            await expect(ada.heading("No applications yet")).to_be_visible()
        failed, batch = await of_each_kind(console_service, client)
        async with looked_at(ada, "applications", faults):
            await expect(ada.button("Pending 1")).to_be_visible()
            await expect(page.locator(".rows > li").first).to_contain_text("Research Assistant")
            await ada.is_live()
        async with looked_at(ada, "export", faults, BOTH):
            await ada.button("Export").click()
            await expect(page.locator(".summary")).to_contain_text("applied")
        await page.keyboard.press("Escape")
        async with looked_at(ada, "application", faults):
            await ada.opens(f"#/applications/{failed}")
            await ada.shows("Failed")
        async with looked_at(ada, "documents", faults):
            await ada.button("Documents of Data Engineer").click()
            await ada.button("Resume").click()
            await expect(page.get_by_role("dialog")).to_contain_text("Galvani Ltd")
        await page.keyboard.press("Escape")
        async with looked_at(ada, "batch", faults):
            await ada.opens(f"#/batches/{batch}")
            await ada.shows("Processing")
        async with looked_at(ada, "batches", faults, BOTH):
            await ada.goes_to("Batches")
            await expect(page.locator(".rows > li")).to_have_count(1)
        async with looked_at(ada, "submit", faults):
            await ada.goes_to("Submit")
            await ada.fills_job(Title="Backend Engineer", Company="Lovelace & Co", Location="London", Portal="LinkedIn")
            await ada.drops_pdf()
            await ada.drops_pdf("letter.txt", b"Dear Sirs")
            await ada.button("Add a job").click()
        async with looked_at(ada, "submit-json", faults, BOTH):
            await ada.button("JSON").click()
            await page.get_by_label("Jobs as JSON").fill("{")
            await page.locator(".submission > .buttons > button").click()
        async with looked_at(ada, "operations", faults):
            await ada.goes_to("Operations")
            await expect(ada.button("Purge")).to_be_visible()
        async with looked_at(ada, "purge", faults, BOTH):
            await ada.button("Purge").click()
    assert not faults, "\n\n".join(faults)
