"""What a user has to export, and what comes back: files read by libraries that are not ours."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet

from domain.job import Job
from domain.ports import Append
from tests.api import Answer, Api, User, a_story, until
from tests.builders import ApplicationStory

HEADING = "Application ID,Portal,Job Title,Company,Location,Status,Created At,Applied At,Error Reason"
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


# -- what has happened ------------------------------------------------------------------------------------------------


def applied(user: User, *jobs: Job, at: datetime = MONDAY) -> ApplicationStory:
    return applied_after(a_story(user, at=at).submitted(jobs=jobs))


def refused(user: User, *jobs: Job, at: datetime = MONDAY, reason: str = "Position closed") -> ApplicationStory:
    return refused_after(a_story(user, at=at).submitted(jobs=jobs), reason)


def applied_after(story: ApplicationStory) -> ApplicationStory:
    """All its open jobs are applied."""
    numbers = [position for position, _ in story.application.open_jobs]
    story = story.started().attempted(*numbers)
    for number in numbers:
        story = story.applied(number)
    return story.succeeded()


def refused_after(story: ApplicationStory, reason: str = "Position closed") -> ApplicationStory:
    """All its open jobs are refused."""
    numbers = [position for position, _ in story.application.open_jobs]
    story = story.started().attempted(*numbers)
    for number in numbers:
        story = story.refused(number, reason)
    return story.failed()


async def happened(api: Api, *stories: ApplicationStory) -> int:
    return [await api.happened(story) for story in stories][-1]


async def went_on(api: Api, story: ApplicationStory, longer: ApplicationStory) -> int:
    """What comes after `story`, which the log holds, is seen in all read models. Its position."""
    position = await api.event_store.log.append(Append(longer.recorded()[len(story.events) :]))

    async def seen() -> bool:
        return min((await api.deps.queries.positions()).values()) >= position

    await until(seen, "it is projected")
    return position


# -- what comes back --------------------------------------------------------------------------------------------------


def rows_of(answer: Answer) -> list[list[str]]:
    """Of a CSV, without the heading."""
    assert answer.status == 200, answer.body
    heading, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert ",".join(heading) == HEADING
    return rows


def titles(answer: Answer) -> list[str]:
    return [row[2] for row in rows_of(answer)]


def sheet_of(answer: Answer) -> Worksheet:
    assert answer.status == 200, answer.body
    book = load_workbook(io.BytesIO(answer.body))
    assert book.sheetnames == ["Applications"]
    sheet: Any = book["Applications"]
    return sheet  # type: ignore[no-any-return]


def texts_of(sheet: Worksheet) -> Sequence[Sequence[str]]:
    """As Excel shows them, without the heading: openpyxl leaves Excel's escapes as they are."""
    heading, *rows = sheet.iter_rows()
    assert [cell.value for cell in heading] == HEADING.split(",")
    return [["" if cell.value is None else unescape(str(cell.value)) for cell in row] for row in rows]


def widths_of(sheet: Worksheet) -> Sequence[float]:
    """Of each column: openpyxl has one for neighbours that are alike."""
    groups = sorted((one.min or 0, one.max or 0, one.width) for one in sheet.column_dimensions.values())
    return [width for first, last, width in groups for _ in range(first, last + 1)]
