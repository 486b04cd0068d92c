"""`app-manager export`, against a running API (contract cli.md 4)."""

import os
import re
from pathlib import Path

import pytest
import pytest_asyncio

from domain.job import Job
from tests.api import Api, User, a_story
from tests.command_line import Shell

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADING = "Application ID,Portal,Job Title,Company,Location,Status,Created At,Applied At,Error Reason"


@pytest_asyncio.fixture(loop_scope="module")
async def history(api: Api, ada: User) -> None:
    """One that succeeded and one that failed, each at a portal of its own."""
    job, other = Job(title="Bäcker", portal="Xing"), Job(title="Cook", portal="LinkedIn")
    await api.happened(a_story(ada).submitted(jobs=[job]).started().attempted().applied().succeeded())
    position = await api.happened(a_story(ada).submitted(jobs=[other]).started().attempted().refused().failed())
    assert (await ada.get("/export/summary", at_least=position)).status == 200
    assert (await ada.get("/fail_applied", at_least=position)).status == 200
    assert (await ada.get("/applied", at_least=position)).status == 200


def titles(text: str) -> list[str]:
    heading, *rows = text.split("\r\n")
    assert (heading, rows.pop()) == (HEADING, "")
    return [row.split(",")[2] for row in rows]


# -- csv --------------------------------------------------------------------------------------------------------------


async def test_csv_goes_to_standard_output_as_it_came(history: None, ada: User, adas: Shell) -> None:
    done = (await adas.runs("export", "csv")).ended_well()
    assert done.stdout.encode() == (await ada.get("/export/csv")).body
    assert titles(done.stdout) == ["Bäcker", "Cook"]
    assert (await adas.runs("export", "csv", "-o", "-")).ended_well().stdout == done.stdout
    assert (await adas.runs("-o", "json", "export", "csv")).ended_well().stdout == done.stdout


FILTERS = [
    (["-p", "xing"], ["Bäcker"]),
    (["--portal", "linkedin"], ["Cook"]),
    (["--no-successful"], ["Cook"]),
    (["--no-failed"], ["Bäcker"]),
    (["--successful", "--failed"], ["Bäcker", "Cook"]),
    (["--no-failed", "--no-successful"], []),
    (["--from", "2026-01-01", "--to", "2026-01-01"], ["Bäcker", "Cook"]),
    (["--from", "2026-01-02"], []),
    (["--to", "2025-12-31"], []),
]


@pytest.mark.parametrize(("options", "found"), FILTERS)
async def test_filters(history: None, adas: Shell, options: list[str], found: list[str]) -> None:
    assert titles((await adas.runs("export", "csv", *options)).ended_well().stdout) == found


BAD = [
    *(["--from", "01.02.2026"], ["--to", "2026-02-30"], ["--to", "2026-W01-1"], ["--from", "20260101"]),
    *(["--from", "2026-1-1"], ["--from", "2026-01-02", "--to", "2026-01-01"], ["--from", "２026-01-01"]),
]


@pytest.mark.parametrize("command", ["csv", "excel"])
@pytest.mark.parametrize("options", BAD)
async def test_a_bad_date_is_bad_usage(adas: Shell, command: str, options: list[str]) -> None:
    done = await adas.runs("export", command, *options)
    assert (done.code, done.stdout, list(adas.home.iterdir())) == (2, "", [])


@pytest.mark.parametrize("option", ["-o", "--output"])
async def test_a_file_is_named_when_it_is_there(history: None, ada: User, adas: Shell, option: str) -> None:
    done = (await adas.runs("export", "csv", option, "all.csv")).ended_well()
    content = (await ada.get("/export/csv")).body
    assert done.stdout == f"Exported to all.csv ({len(content)} bytes)\n"
    assert (adas.home / "all.csv").read_bytes() == content
    assert [path.name for path in adas.home.iterdir()] == ["all.csv"]
    as_json = (await adas.runs("-o", "json", "export", "csv", option, "all.csv")).ended_well().json
    assert as_json == {"file": "all.csv", "bytes": len(content)}


async def test_a_file_that_is_there_is_replaced_where_its_link_leads_and_keeps_its_mode(
    history: None, adas: Shell
) -> None:
    kept = adas.home / "kept.csv"
    kept.write_text("old")
    kept.chmod(0o640)
    (adas.home / "all.csv").symlink_to(kept)
    (await adas.runs("export", "csv", "-o", "all.csv")).ended_well()
    assert (adas.home / "all.csv").is_symlink()
    assert titles(kept.read_bytes().decode()) == ["Bäcker", "Cook"]
    assert kept.stat().st_mode & 0o777 == 0o640


async def test_a_device_stays_one(history: None, adas: Shell) -> None:
    before = os.stat("/dev/null")
    (await adas.runs("export", "csv", "-o", "/dev/null")).ended_well()
    assert os.stat("/dev/null").st_ino == before.st_ino
    message = "/dev/full cannot be written: No space left on device"
    assert (await adas.runs("export", "csv", "-o", "/dev/full")).failed(message) == []


@pytest.mark.parametrize(
    ("target", "why"), [(".", "it is a folder"), ("no/such/folder.csv", "No such file or directory")]
)
async def test_a_file_that_cannot_be_written_is_one_line(adas: Shell, target: str, why: str) -> None:
    assert (await adas.runs("export", "csv", "-o", target)).failed(f"{target} cannot be written: {why}") == []


async def test_a_refused_export_leaves_no_file_and_the_old_one(shell: Shell, api: Api) -> None:
    (shell.home / "all.csv").write_text("old")
    more = (await shell.runs("-u", api.url, "-t", "nonsense", "export", "csv", "-o", "all.csv")).failed(
        "The token cannot be accepted"
    )
    assert more[1] == "code: ERR_8001"
    assert {path.name: path.read_text() for path in shell.home.iterdir()} == {"all.csv": "old"}


# -- excel ------------------------------------------------------------------------------------------------------------


async def test_excel_goes_to_a_file_named_by_the_time(history: None, adas: Shell) -> None:
    done = (await adas.runs("export", "excel")).ended_well()
    [path] = adas.home.iterdir()
    assert re.fullmatch(r"applications_20\d{6}_\d{6}\.xlsx", path.name)
    assert done.stdout == f"Exported to {path.name} ({path.stat().st_size} bytes)\n"
    assert rows_of(path) == ["Bäcker", "Cook"]


@pytest.mark.parametrize(("options", "found"), FILTERS)
async def test_excel_takes_the_same_filters(history: None, adas: Shell, options: list[str], found: list[str]) -> None:
    (await adas.runs("export", "excel", "-o", "all.xlsx", *options)).ended_well()
    assert rows_of(adas.home / "all.xlsx") == found


def rows_of(path: Path) -> list[object]:
    """The titles in it."""
    from openpyxl import load_workbook

    sheet = load_workbook(path, read_only=False)["Applications"]
    return [row[2].value for row in list(sheet.iter_rows())[1:]]


# -- summary ----------------------------------------------------------------------------------------------------------


async def test_summary(history: None, ada: User, adas: Shell) -> None:
    done = (await adas.runs("export", "summary")).ended_well()
    assert "Export Summary" in done.stdout.splitlines()[0]
    assert done.fields == {
        "Total Applications": "2",
        "Successful": "1",
        "Failed": "1",
        "Available Portals": "LinkedIn, Xing",
        "Export Formats": "csv, excel",
    }
    as_json = (await adas.runs("export", "summary", "--json")).ended_well().json
    assert as_json == (await ada.get("/export/summary")).json


async def test_summary_of_nothing(adas: Shell) -> None:
    assert (await adas.runs("export", "summary")).ended_well().fields["Available Portals"] == "-"
