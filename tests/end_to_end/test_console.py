"""The console as people use it: in a real browser, on a service with all its roles, live by its stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from infra.mongo import Mongo
from tests.end_to_end.console import OPERATOR, Person, at_console, client_of, with_worker, without_worker
from tests.end_to_end.service import Client, Service, until
from tests.projecting import first_build

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(loop_scope="session")
async def ada(browser: Browser, console_service: Service) -> AsyncIterator[Person]:
    """Somebody new, at the console, not signed in."""
    async with at_console(browser, console_service, f"ada-{uuid4().hex[:6]}") as person:
        yield person


@pytest_asyncio.fixture(loop_scope="session")
async def program(console_service: Service, ada: Person) -> AsyncIterator[Client]:
    """The same user, by program."""
    async with client_of(console_service, ada.user) as client:
        yield client


# -- without a worker, so that what is pending stays pending ----------------------------------------------------------


async def test_who_has_no_good_token_is_told_why_and_who_has_one_is_in(ada: Person) -> None:
    await expect(ada.heading("Sign in")).to_be_visible()
    await ada.page.get_by_label("Token").fill("nonsense")
    await ada.button("Sign in").click()
    await ada.says("This is no token")
    await ada.signs_in(exp=1)
    await ada.says("The service does not accept this token: The token has expired.")
    ada.expected("401")
    await ada.signs_in()
    await expect(ada.heading("No applications yet")).to_be_visible()
    await expect(ada.page.locator("#who")).to_contain_text(ada.user)
    await expect(ada.page.locator("#who")).to_contain_text("expires in 60 min")
    await ada.button("Sign out").click()
    await expect(ada.heading("Sign in")).to_be_visible()
    assert await ada.page.evaluate("sessionStorage.length") == 0


async def test_a_pending_one_is_cancelled(console_service: Service, ada: Person, program: Client) -> None:
    await without_worker(console_service)
    await program.submit("Baker")
    await program.submit("Miller")
    await ada.signs_in()
    await ada.is_live()
    baker = ada.page.get_by_role("listitem").filter(has_text="Baker")
    await baker.get_by_role("button", name="Cancel: Baker").click()
    await expect(baker.locator(".badge")).to_have_text("Cancelled")
    await expect(baker).to_contain_text("Cancelled by user")
    await expect(baker.get_by_role("button")).to_have_count(0)
    await expect(ada.page.get_by_role("button", name="Pending 1")).to_be_visible()
    await ada.page.get_by_role("link", name="Miller").click()
    await ada.button("Cancel").click()
    await ada.shows("Cancelled")
    assert set((await program.all_ended(await _ids(program))).values()) == {"cancelled"}


async def test_a_second_click_and_a_lost_answer_make_one_application(ada: Person, program: Client) -> None:
    await ada.signs_in()
    await ada.goes_to("Submit")
    await ada.fills_job(Title="Baker", Company="Bread & Co")

    async def lose(route: Route) -> None:
        await route.fetch()  # the service has it
        await route.abort()

    await ada.page.route("**/applications", lose, times=1)
    await ada.button("Submit").dblclick()
    await ada.says("Submit it again: it is made only once.")
    await ada.button("Submit").click()
    await ada.shows("Pending")
    assert len(await _ids(program)) == 1
    ada.expected("ERR_FAILED")


async def test_what_is_wrong_is_told_at_its_field(ada: Person, program: Client) -> None:
    await ada.signs_in()
    await ada.goes_to("Submit")
    await ada.fills_job(Title="Baker")
    await ada.button("Add a job").click()
    await ada.page.evaluate("for (const one of document.querySelectorAll('input')) one.removeAttribute('maxlength')")
    await ada.fills_job(1, Title="Cook", Company="x" * 2001)
    await ada.button("Submit with 2 jobs").click()
    company = ada.page.locator(".job-form").nth(1).get_by_label("Company")
    await expect(company).to_have_attribute("aria-invalid", "true")
    await expect(company).to_be_focused()
    await ada.says("String should have at most 2000 characters")
    await ada.drops_pdf("letter.txt", b"Dear Sirs")
    await ada.says("letter.txt is not a PDF.")
    await ada.button("JSON").click()
    await ada.page.get_by_label("Jobs as JSON").fill('{"jobs": [{"title": "Baker"}, {"title": 5}]}')
    await ada.button("Submit").click()
    await ada.says("jobs[1].title Input should be a valid string")
    assert await _ids(program) == []
    ada.expected("422")


async def test_what_users_write_is_text_and_runs_nowhere(ada: Person, program: Client) -> None:
    wild = "<img src=x onerror=alert(1)><b>Baker</b>"
    jobs = {"jobs": [{"title": wild, "company_name": wild, "portal": wild, "apply_link": "javascript:alert(1)"}]}
    headers = {**program.headers, "Content-Type": "application/x-www-form-urlencoded"}
    async with program.http.post(f"{ada.url}/applications", data={"jobs": json.dumps(jobs)}, headers=headers) as told:
        id = (await told.json())["application_id"]
    await ada.signs_in()
    await expect(ada.page.get_by_role("link", name=wild)).to_be_visible()
    await ada.opens(f"#/applications/{id}")
    await expect(ada.heading(wild).first).to_be_visible()
    await ada.page.get_by_text("All that was given").click()
    await expect(ada.page.get_by_text("javascript:alert(1)")).to_be_visible()
    assert await ada.page.locator("main img, main b, main a[href^=javascript]").count() == 0


async def test_addresses_lead_to_what_they_name(browser: Browser, console_service: Service, ada: Person) -> None:
    async with client_of(console_service, "somebody-else") as other:
        id = await other.submit("Cook")
    await ada.signs_in()
    for address, told in (
        (f"#/applications/{id}", "No such application"),
        ("#/batches/01a20a42eec471729330c1c9b865f0e2", "No such batch"),
        ("#/nowhere", "Nothing here"),
        ("#/applications?title=cook&status=failed", "Nothing matches"),
    ):
        await ada.opens(address)
        await expect(ada.heading(told)).to_be_visible()
    await expect(ada.page.get_by_label("Title")).to_have_value("cook")
    await expect(ada.page.get_by_role("button", name="Failed")).to_have_attribute("aria-pressed", "true")
    ada.expected("404")


# -- with one ---------------------------------------------------------------------------------------------------------


async def test_from_a_form_with_a_pdf_to_its_success_without_a_reload(console_service: Service, ada: Person) -> None:
    await without_worker(console_service)
    await ada.signs_in()
    await ada.is_live()
    await ada.goes_to("Submit")
    await ada.fills_job(Title="Backend Engineer [slow:1]", Company="Lovelace & Co", Location="London")
    await ada.page.get_by_text("More about the job").click()
    await ada.page.get_by_label("Skills").fill("Python, PostgreSQL")
    await ada.drops_pdf()
    await ada.page.get_by_label("Style").fill("classic")
    await ada.button("Submit").click()
    await ada.shows("Pending")
    await ada.page.evaluate("window.notReloaded = true")
    await with_worker(console_service)
    await ada.shows("Processing")
    await ada.shows("Success")
    await expect(ada.page.locator(".history > li").first).to_contain_text("Done")
    assert await ada.page.evaluate("window.notReloaded")
    await ada.button("Documents of Backend Engineer").click()
    await expect(ada.page.get_by_role("dialog")).to_contain_text("Dear Lovelace & Co team,")
    await ada.button("Resume").click()
    await expect(ada.page.get_by_role("dialog")).to_contain_text("Galvani Ltd")


async def test_a_failed_one_is_retried(console_service: Service, ada: Person, program: Client) -> None:
    await with_worker(console_service)
    await ada.signs_in()
    await ada.is_live()
    await program.submit("Baker [fail:2]")
    baker = ada.page.get_by_role("listitem").filter(has_text="Baker")
    await expect(baker.locator(".badge")).to_have_text("Failed")
    await expect(baker).to_contain_text("Max retries exceeded")
    await baker.get_by_role("button", name="Retry").click()
    await expect(baker.locator(".badge")).to_have_text("Success")


async def test_a_batch_is_followed_to_its_end(console_service: Service, ada: Person) -> None:
    await with_worker(console_service)
    await ada.signs_in()
    await ada.is_live()
    await ada.goes_to("Submit")
    for number, title in enumerate(("Baker", "Miller [reject]", "Cook [slow:12]")):
        if number:
            await ada.button("Add a job").click()
        await ada.fills_job(number, Title=title)
    await ada.page.get_by_label("Each job is an application of its own").check()
    await ada.button("Submit a batch of 3").click()
    await ada.shows("Processing")
    bar = ada.page.get_by_role("img", name="ended")
    await expect(bar).to_have_attribute("aria-label", "2 of 3 ended: 1 succeeded, 1 failed")
    await expect(ada.page.get_by_role("listitem").filter(has_text="Application 3").locator(".badge")).to_have_text(
        "Processing"
    )
    await ada.shows("Partial")
    await expect(bar).to_have_attribute("aria-label", "All 3 applications ended: 2 succeeded, 1 failed")
    await expect(ada.page.get_by_role("listitem").filter(has_text="Application 2")).to_contain_text("Position closed")
    await ada.goes_to("Batches")
    await expect(ada.page.get_by_role("link", name="3 applications")).to_be_visible()


async def test_what_changes_while_a_batch_is_first_read_is_not_missed(
    console_service: Service, ada: Person, program: Client
) -> None:
    await without_worker(console_service)
    answered = asyncio.Event()

    async def answers_late(route: Route) -> None:
        response = await route.fetch()  # as it was before the worker began
        await with_worker(console_service)
        await ada.page.wait_for_timeout(4_000)
        await route.fulfill(response=response)
        answered.set()

    await ada.signs_in()
    await ada.is_live()
    job = {"title": "Cook [slow:20]", "company_name": "Galvani Ltd", "portal": "sandbox"}
    batch = await program.post_form("/batch/applications", items=json.dumps([{"jobs": [job]}]))
    await ada.page.route(f"**/batch/applications/{batch['batch_id']}", answers_late, times=1)
    await ada.opens(f"#/batches/{batch['batch_id']}")
    await answered.wait()
    await ada.shows("Processing")


async def test_nothing_is_missed_while_the_api_is_away(console_service: Service, ada: Person, program: Client) -> None:
    await with_worker(console_service)
    await ada.signs_in()
    await ada.is_live()
    id = await program.submit("Cook [slow:12]")
    badge = ada.page.locator(".row .badge")
    await expect(badge).to_have_text("Processing")
    ada.expects("ERR_", "404", "503", "not read again")
    await console_service.kill("api")
    await expect(ada.page.locator("#connection")).to_contain_text("Reconnecting")

    async def ended() -> bool:
        wanted = ("application.success", id)
        return wanted in [(line["event_type"], line.get("application_id")) for line in console_service.logged("worker")]

    await until(ended, "the worker has ended it")
    await console_service.start("api")
    await expect(badge).to_have_text("Success")
    await ada.is_live()


async def test_without_a_stream_the_page_says_so_and_reads_again(
    console_service: Service, ada: Person, program: Client
) -> None:
    await ada.page.route("**/stream/status", lambda route: route.fulfill(status=404, body="{}"))
    await ada.page.clock.install()
    await ada.opens()
    await ada.signs_in()
    await expect(ada.page.locator("#connection")).to_contain_text("Refreshing")
    await expect(ada.heading("No applications yet")).to_be_visible()
    await program.submit("Baker")

    async def is_listed() -> bool:
        return await _ids(program) != []

    await until(is_listed, "the read model has it")
    await ada.page.clock.fast_forward(21_000)
    await expect(ada.page.get_by_role("link", name="Baker")).to_be_visible()
    ada.expected("404")


async def test_a_token_that_expires_leaves_the_page_as_it_is(ada: Person) -> None:
    await ada.signs_in()
    await ada.goes_to("Submit")
    await ada.fills_job(Title="Baker")
    await ada.page.evaluate("sessionStorage.setItem('app-manager.token', 'x')")
    await ada.page.clock.install()
    await ada.page.route("**/applications", lambda route: route.fulfill(status=401, json={"message": "Gone"}), times=1)
    await ada.button("Submit").click()
    await expect(ada.heading("Sign in again")).to_be_visible()
    await ada.signs_in()
    await expect(ada.page.locator("dialog")).to_have_count(0)
    await expect(ada.page.get_by_label("Title")).to_have_value("Baker")
    await ada.button("Submit").click()
    await expect(ada.page.locator(".of-one .badge")).to_be_visible()
    ada.expected("401")


async def test_what_there_is_can_be_exported(
    console_service: Service, ada: Person, program: Client, tmp_path: Path
) -> None:
    await with_worker(console_service)
    await program.all_ended([await program.submit("Baker")])
    await ada.signs_in()
    await ada.button("Export").click()
    await expect(ada.page.locator(".summary")).to_contain_text("1 applied")
    for kind, beginning in (("CSV", b"Application ID,Portal"), ("Excel", b"PK")):
        async with ada.page.expect_download() as downloading:
            await ada.button(kind).click()
        download = await downloading.value
        await download.save_as(tmp_path / kind)
        assert download.suggested_filename.startswith("applications_")
        assert (tmp_path / kind).read_bytes().startswith(beginning)


async def test_operators_see_dead_letters_and_deal_with_them(browser: Browser, console_service: Service) -> None:
    await with_worker(console_service)
    async with (
        at_console(browser, console_service, f"op-{uuid4().hex[:6]}", **OPERATOR) as op,
        client_of(console_service, op.user) as as_op,
    ):
        await as_op.all_ended([await as_op.submit("Miller [reject]")])
        await op.signs_in()
        await op.goes_to("Operations")
        letters = op.page.get_by_role("region", name="Dead letters")
        await expect(letters.get_by_role("button", name="Purge")).to_be_visible()
        await expect(op.page.get_by_role("row").filter(has_text="status")).to_contain_text("running")
        parked = op.page.get_by_role("region", name="Parked streams")
        await expect(parked).to_contain_text("Nothing waits for a decision.")
        await letters.get_by_role("button", name="Try again").click()
        await op.says("tried again")
        await letters.get_by_role("button", name="Purge").click()
        await op.button("Purge them").click()
        await op.says("removed")


async def test_operators_see_what_is_parked(browser: Browser, console_service: Service) -> None:
    """As a projector would have written it: the read models of this service take every event."""
    user = f"op-{uuid4().hex[:6]}"
    stream = uuid4().hex
    document = {
        "_id": f"parked:{stream}",
        "stream": stream,
        "concerns": user,
        "position": 1,
        "version": 1,
        "event_type": "application.submitted",
        "error": "ValueError: <b>odd</b>",
        "group": "ab12",
        "waiting": 2,
        "first_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    settings = console_service.settings
    async with Mongo(settings["MONGODB"], settings["MONGODB_DATABASE"]) as mongo:
        collection = mongo.database[str(first_build("failed"))]
        await collection.insert_one(document)
        try:
            async with at_console(browser, console_service, user, **OPERATOR) as op:
                await op.signs_in()
                await op.goes_to("Operations")
                table = op.page.get_by_role("region", name="Table of parked streams")
                row = table.get_by_role("row").filter(has_text=stream)
                for text in ("failed", "application.submitted", "ValueError: <b>odd</b>", "2 events"):
                    await expect(row).to_contain_text(text)
        finally:
            await collection.delete_one({"_id": document["_id"]})


async def test_who_is_no_operator_sees_no_operations(ada: Person) -> None:
    await ada.signs_in()
    await expect(ada.page.get_by_role("link", name="Operations")).to_have_count(0)
    await ada.opens("#/operations")
    await ada.says("Your token does not allow this.")
    ada.expected("403")


async def _ids(client: Client) -> list[str]:
    return [one["application_id"] for one in (await client.get("/applications"))["data"]]
