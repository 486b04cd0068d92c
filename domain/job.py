"""A job as its user gave it, and what was written and sent for it (contract http.md 1.8, 5.1)."""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

TEXT_MAX = 2_000  # characters

Text = Annotated[str, StringConstraints(max_length=TEXT_MAX, strict=True)]
LongText = Annotated[str, StringConstraints(max_length=50_000, strict=True)]
Skill = Annotated[str, StringConstraints(max_length=200, strict=True)]


class Job(BaseModel):
    """All fields are optional; unknown keys are dropped. The limits may grow, never shrink: old events hold jobs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Text | None = None
    portal: Text | None = None
    title: Text | None = None
    workplace_type: Text | None = None
    posted_date: Text | None = None
    job_state: Text | None = None
    description: LongText | None = None
    apply_link: Text | None = None
    company_name: Text | None = Field(default=None, validation_alias=AliasChoices("company_name", "company"))
    location: Text | None = None
    short_description: Text | None = None
    field: Text | None = None
    company_logo: Text | None = None
    experience: Text | None = None
    skills_required: Annotated[tuple[Skill, ...], Field(max_length=200)] | None = None


class CvReference(BaseModel):
    """The uploaded file: stored before the event that names it (design 1). `size` in bytes."""

    model_config = ConfigDict(frozen=True)

    id: str
    size: int
    sha256: str


class Documents(BaseModel):
    """What was written for a job; null where none could be made."""

    model_config = ConfigDict(frozen=True)

    resume_optimized: dict[str, Any] | None = None
    cover_letter: dict[str, Any] | None = None
