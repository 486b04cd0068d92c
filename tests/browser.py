"""Debian's Chromium for the tests of the console: what is installed, else its packages unpacked into our cache folder.

It runs without a screen, on an empty profile, and asks nobody but the page's own server for anything. `CHROMIUM` names
another one. Its font comes with it where it is unpacked, so that pictures look alike.
"""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from infra.local_servers.debian import Packages, unpacked
from infra.local_servers.folder import cache_folder

DEBIAN = Packages(
    "Chromium",
    wanted=("chromium", "fonts-inter-variable"),
    family="chromium",
    advice="install chromium, or name one by CHROMIUM=/path/to/chromium",
)
INSTALLED = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--font-render-hinting=none"),
)


@dataclass(frozen=True, slots=True)
class Program:
    path: str
    variables: Mapping[str, str]


def find_chromium() -> Program:
    """Blocks, for some 20 s where it must be unpacked first. Raises LocalServerError, which says what to do."""
    named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, INSTALLED)), None)
    if named:
        return Program(named, {})
    root = unpacked(DEBIAN, cache_folder())
    libraries = {str(library.parent) for library in root.glob("usr/lib/*-linux-gnu*/**/lib*.so*")}
    fonts = {} if Path("/etc/fonts").exists() else {"FONTCONFIG_PATH": str(root / "etc/fonts")}
    shared = {"XDG_DATA_HOME": str(root / "usr/share")}  # fonts are looked for in it
    return Program(
        str(root / "usr/lib/chromium/chromium"), {"LD_LIBRARY_PATH": ":".join(sorted(libraries)), **fonts, **shared}
    )


@asynccontextmanager
async def browsing(program: Program, profile: Path) -> AsyncIterator[Browser]:
    """A browser without a screen; `profile` is an empty folder of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(profile),
        "XDG_CACHE_HOME": str(profile),
        **program.variables,
    }
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program.path,
            env=dict(environment),
            args=[*OPTIONS],
            chromium_sandbox=os.geteuid() != 0,
            headless=True,
        )
        try:
            yield browser
        finally:
            await browser.close()
