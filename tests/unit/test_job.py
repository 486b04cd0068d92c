"""A job as its user may give it (contract http.md 1.8)."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.job import Job
from tests.published import PUBLISHED, codes

TEXTS = [
    "id", "portal", "title", "workplace_type", "posted_date", "job_state", "apply_link", "company_name", "location",
    "short_description", "field", "company_logo", "experience",
]  # fmt: skip


def test_a_job_has_the_published_fields_in_their_order() -> None:
    document = (PUBLISHED / "http.md").read_text(encoding="utf-8")
    section = document.split("### 1.8")[1].split("###")[0]
    [listed] = [line for line in section.splitlines() if line.startswith("`id`")]
    assert list(Job.model_fields) == codes(listed)


def test_all_fields_may_be_left_out() -> None:
    assert set(Job.model_validate({}).model_dump().values()) == {None}


@pytest.mark.parametrize("field", [*TEXTS, "description", "skills_required"])
def test_all_fields_may_be_null(field: str) -> None:
    assert Job.model_validate({field: None}) == Job()


@pytest.mark.parametrize("field", [*TEXTS, "description"])
@pytest.mark.parametrize("value", [7, 1.5, True, ["a"], {"a": 1}, b"bytes"])
def test_what_is_no_string_is_refused_where_a_string_is_due(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate({field: value})


@pytest.mark.parametrize("value", ["Bread", [1], [None], [["Bread"]], {"a": "b"}])
def test_skills_are_a_list_of_strings(value: object) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate({"skills_required": value})


@pytest.mark.parametrize(("field", "most"), [*((field, "x" * 2_000) for field in TEXTS), ("description", "x" * 50_000)])
def test_a_string_holds_so_many_characters_and_no_more(field: str, most: str) -> None:
    assert getattr(Job.model_validate({field: most}), field) == most
    with pytest.raises(ValidationError):
        Job.model_validate({field: most + "x"})


def test_characters_are_counted_not_bytes() -> None:
    assert Job.model_validate({"title": "🙂" * 2_000}).title == "🙂" * 2_000


def test_skills_are_two_hundred_of_two_hundred_characters() -> None:
    most = ["x" * 200] * 200
    assert Job.model_validate({"skills_required": most}).skills_required == tuple(most)
    for too_much in (["x"] * 201, ["x" * 201]):
        with pytest.raises(ValidationError):
            Job.model_validate({"skills_required": too_much})


def test_unknown_keys_are_dropped() -> None:
    assert Job.model_validate({"title": "Baker", "salary": 7}) == Job(title="Baker")


def test_company_is_read_as_company_name_when_that_is_missing() -> None:
    assert Job.model_validate({"company": "Crumb & Co"}).company_name == "Crumb & Co"
    assert Job.model_validate({"company_name": "Crumb", "company": "Other"}).company_name == "Crumb"


def test_company_is_never_written() -> None:
    assert "company" not in Job.model_validate({"company": "Crumb & Co"}).model_dump()


@pytest.mark.parametrize("document", ["[]", '"title"', "7", "null"])
def test_a_job_is_an_object(document: str) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate_json(document)


@pytest.mark.parametrize("field", ["title", "description"])
def test_half_a_character_is_refused(field: str) -> None:
    """A lone surrogate cannot be stored as UTF-8."""
    value: dict[str, Any] = {field: "\ud800"}
    with pytest.raises(ValidationError):
        Job.model_validate(value)
