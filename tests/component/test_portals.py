"""From the setting `PORTALS` to portals that work (contract config.md, portals.md 1)."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from consumers.portals import Applied, Delivery, Refused
from consumers.portals.registry import Portals
from consumers.portals.sandbox import create_app
from tests.submissions import a_submission

ADAPTER = """
from consumers.portals import Refused

class PaperPortal:
    opened = 0

    def __init__(self, entry):
        self.entry = entry
        if entry.get("office") == "closed":
            raise ValueError("office: closed for good")

    async def __aenter__(self):
        PaperPortal.opened += 1
        return self

    async def __aexit__(self, *_):
        PaperPortal.opened -= 1

    async def submit(self, submission):
        return Refused(f"{self.entry['office']} takes no post, {self.entry['timeout']}")
"""


def portals(entries: dict[str, Any] | None = None, **options: Any) -> Portals:
    settings: dict[str, Any] = {"default": None, "sandbox_url": "http://127.0.0.1:9/", "timeout": 30} | options
    return Portals(entries or {}, **settings)


@pytest.fixture
def paper_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that somebody else has installed, with an adapter of its own."""
    (tmp_path / "paper_portal.py").write_text(ADAPTER)
    metadata = tmp_path / "paper_portal-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: paper-portal\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[app_manager.portals]\npaper = paper_portal:PaperPortal\nbroken = paper_portal:Missing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("paper_portal", None)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[str]:
    async with TestServer(create_app(tmp_path / "sandbox.db")) as server:
        yield str(server.make_url("/"))


LISTED = {"LinkedIn": {"url": "http://127.0.0.1:9/"}}


def test_a_portal_is_found_in_any_case_and_keeps_the_name_it_is_listed_by() -> None:
    found = portals(LISTED).find("LINKEDIN")
    assert found
    assert found.name == "LinkedIn"


def test_a_portal_is_at_most_once_unless_its_entry_says_otherwise() -> None:
    listed = portals(LISTED | {"Keyed": {"url": "http://127.0.0.1:9/", "delivery": "at_least_once"}})
    linkedin, keyed = listed.find("linkedin"), listed.find("keyed")
    assert linkedin
    assert keyed
    assert (linkedin.delivery, keyed.delivery) == (Delivery.AT_MOST_ONCE, Delivery.AT_LEAST_ONCE)


def test_a_field_that_is_null_has_its_default() -> None:
    nothing = dict.fromkeys(("adapter", "timeout", "concurrency", "rate", "delivery"))
    found = portals({"A": {"url": "http://127.0.0.1:9/"} | nothing}).find("a")
    assert found
    assert found.delivery is Delivery.AT_MOST_ONCE


@pytest.mark.parametrize("name", ["Monster", "", None])
def test_a_name_that_is_not_listed_goes_to_the_default(name: str | None) -> None:
    assert portals(LISTED).find(name) is None
    default = portals(LISTED, default="linkedIN").find(name)
    assert default
    assert default.name == "LinkedIn"


def test_the_sandbox_is_known_without_an_entry() -> None:
    found = portals().find("Sandbox")
    assert found
    assert (found.name, found.delivery) == ("sandbox", Delivery.AT_LEAST_ONCE)


async def test_the_sandbox_without_an_entry_is_at_its_url(sandbox: str) -> None:
    async with await asyncio.to_thread(portals, sandbox_url=sandbox, default="sandbox") as opened:
        portal = opened.find(None)
        assert portal
        async with portal.slot():
            outcome = await portal.submit(a_submission())
        assert isinstance(outcome, Applied)
        assert outcome.reference is not None
        assert outcome.reference.startswith("SBX-")


async def test_an_entry_of_the_name_sandbox_replaces_it(sandbox: str) -> None:
    async with await asyncio.to_thread(portals, {"SANDBOX": {"url": f"{sandbox}submit-blind"}}) as opened:
        found = opened.find("sandbox")
        assert found
        assert (found.name, found.delivery) == ("SANDBOX", Delivery.AT_MOST_ONCE)
        for _ in range(2):
            assert isinstance(await found.submit(a_submission()), Applied)


@pytest.mark.usefixtures("paper_package")
async def test_an_adapter_of_another_package_gets_its_entry_with_the_defaults() -> None:
    entries = {"Post": {"adapter": "paper", "office": "Bern", "rate": None}}
    async with await asyncio.to_thread(portals, entries, timeout=7) as opened:
        adapter = sys.modules["paper_portal"].PaperPortal
        assert adapter.opened == 1
        portal = opened.find("post")
        assert portal
        async with portal.slot():
            assert await portal.submit(a_submission()) == Refused("Bern takes no post, 7.0")
    assert adapter.opened == 0


@pytest.mark.usefixtures("paper_package")
@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"A": {"url": "http://x/", "concurrency": 0}}, "PORTALS: A: concurrency: Input should be greater than"),
        ({"A": {"url": "http://x/", "rate": -1}}, "PORTALS: A: rate: Input should be greater than 0"),
        ({"A": {"url": "http://x/", "delivery": "twice"}}, "PORTALS: A: delivery: Input should be 'at_least_once' or"),
        ({"A": {"url": "http://x/", "timeout": "soon"}}, "PORTALS: A: timeout: Input should be a valid number"),
        ({"A": {}}, "PORTALS: A: url: Field required"),
        ({"A": {"url": "nowhere"}}, "PORTALS: A: url: Input should be a valid URL"),
        ({"A": ["http://x/"]}, "PORTALS: A: not an object"),
        ({"A": {"adapter": "fax"}}, "PORTALS: A: no adapter 'fax' in the entry point group app_manager.portals"),
        ({"A": {"adapter": "broken"}}, "PORTALS: A: the adapter 'broken' of app_manager.portals cannot be loaded"),
        ({"A": {"adapter": "paper", "office": "closed"}}, "PORTALS: A: office: closed for good"),
        ({"A": {"url": "http://x/"}, "a": {"url": "http://x/"}}, "PORTALS: a: listed twice"),
    ],
)
def test_an_entry_that_cannot_be_used_is_told_in_one_line(entries: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="PORTALS") as error:
        portals(entries)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_a_mistake_is_told_without_its_value() -> None:
    with pytest.raises(ValueError, match="PORTALS") as error:
        portals({"A": {"url": "ftp://user:secret@portal/"}})
    assert "secret" not in str(error.value)


def test_a_default_that_is_not_listed_is_told() -> None:
    with pytest.raises(ValueError, match="PORTAL_DEFAULT: 'monster' is not listed in PORTALS"):
        portals(LISTED, default="monster")
