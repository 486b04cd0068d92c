"""The jobs that a caller sends: strict JSON, within the limits of `domain.job` (contract http.md 1.8, 2).

The number of jobs is looked at before any of them, and no more problems are looked for than are told, so that a bad
document costs no more than a good one.
"""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from api.errors import DETAILS_MAX, InvalidJobData, Problem, field_path, problems_of
from domain.job import Job

MOST_JOBS = "max_jobs_per_application"  # the setting


EXAMPLE: JsonDict = {"title": "Baker", "company_name": "Bread & Co", "location": "Graz", "portal": "sandbox"}


class JobsDocument(BaseModel):
    """The jobs of one application."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [EXAMPLE]}]})

    jobs: Annotated[list[Job], Field(min_length=1, json_schema_extra={"maxItems": {"setting": MOST_JOBS}})]


def parse_jobs(document: bytes, most: int) -> tuple[Job, ...]:
    """The jobs of `{"jobs": [job, ...]}`. Raises InvalidJobData, which names each field that cannot be used."""
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise _refused(f"is not JSON: {error}", "jobs") from None
    if not isinstance(content, dict):
        raise _refused('should be a JSON object {"jobs": [...]}', "jobs")
    return check_jobs(content.get("jobs"), most, "jobs")


def check_jobs(jobs: Any, most: int, *path: str | int) -> tuple[Job, ...]:
    """The jobs of an array that stands at `path`."""
    if not isinstance(jobs, list):
        raise _refused("should be an array of jobs", *path)
    if not 1 <= len(jobs) <= most:
        raise _refused(f"should have 1 to {most} jobs, not {len(jobs)}", *path)
    checked: list[Job] = []
    problems: list[Problem] = []
    for index, job in enumerate(jobs):
        try:
            checked.append(Job.model_validate(job))
        except ValidationError as error:
            problems += problems_of(error, *path, index)
        if len(problems) >= DETAILS_MAX:
            break
    if problems:
        raise InvalidJobData(f"Bad job data: {problems[0].field} {problems[0].message}", problems)
    return tuple(checked)


def _refused(why: str, *path: str | int) -> InvalidJobData:
    problem = Problem(why, field_path(path))
    return InvalidJobData(f"Bad job data: {problem.field} {why}", [problem])
