"""The offline writer: resume and cover letter from a template, for a job, a style and a CV's text.

It says of a person only what the CV says, in the CV's own words; it chooses and orders, and leaves out lines that
matter least. The letter's own sentences are English. No clock and no chance: the same request gives the same bytes.
What is shown where: contract http.md 5.1.
"""

from collections.abc import Sequence
from typing import Any

from consumers.documents import DocumentRequest, WrittenDocuments
from consumers.documents.cv import Cv, Line, Position, parse_cv
from consumers.documents.posting import Match, Posting, match_skills
from consumers.documents.styles import Style, style_of

SKILLS_IN_LETTER = 6

Json = dict[str, Any]


class TemplateWriter:
    """A DocumentWriter. Takes 0.1 ms for a job without a CV, a few with one, so it works on the event loop."""

    async def write(self, request: DocumentRequest) -> WrittenDocuments:
        posting, style = Posting(request.job), style_of(request.style)
        if not (request.cv_text or "").strip():
            return WrittenDocuments(None, _letter(posting, style, request.style, None, Match((), ())))
        cv = parse_cv(request.cv_text or "")
        match = match_skills(posting, cv)
        return WrittenDocuments(
            resume_optimized=_resume(posting, style, request.style, cv, match),
            cover_letter=_letter(posting, style, request.style, cv, match),
        )


def _style(style: Style, asked: str | None) -> Json:
    return {"asked": asked, "name": style.name, "tone": style.tone}


# -- the resume -------------------------------------------------------------------------------------------------------


def _resume(posting: Posting, style: Style, asked: str | None, cv: Cv, match: Match) -> Json:
    return {
        "style": _style(style, asked) | {"sections": list(style.sections)},
        "target": {field: posting.text(field) or None for field in ("title", "company_name", "location")},
        "name": cv.name,
        "headline": cv.headline,
        "contact": {
            "emails": list(cv.contact.emails),
            "phones": list(cv.contact.phones),
            "links": list(cv.contact.links),
            "others": list(cv.contact.others),
        },
        "summary": cv.summary,
        "skills": [
            *({"name": skill, "matched": True} for skill in match.matched),
            *({"name": skill, "matched": False} for skill in match.others),
        ],
        "experience": [_experience(position, posting, style, cv) for position in cv.positions],
        "education": list(cv.education),
        "other": [{"heading": heading, "lines": list(lines)} for heading, lines in cv.others],
    }


def _experience(position: Position, posting: Posting, style: Style, cv: Cv) -> Json:
    """Positions keep their order, which is that of time; in each, what matters for this job comes first."""
    ordered = sorted(position.highlights, key=lambda line: -posting.relevance(line, cv))
    return {"heading": list(position.heading), "highlights": [line.text for line in ordered[: style.highlights]]}


# -- the letter -------------------------------------------------------------------------------------------------------


def _letter(posting: Posting, style: Style, asked: str | None, cv: Cv | None, match: Match) -> Json:
    paragraphs = [
        style.opening.format(position=_position(posting)),
        *_reason(posting),
        *(_evidence(posting, style, cv, match) if cv else _questions(posting)),
        style.invitation,
    ]
    return {
        "style": _style(style, asked),
        "subject": _subject(posting),
        "greeting": style.greeting.format(team=_team(posting)),
        "paragraphs": paragraphs,
        "closing": style.closing,
        "signature": cv.name if cv else None,
        "contact": [*cv.contact.emails, *cv.contact.phones] if cv else [],
    }


def _subject(posting: Posting) -> str:
    title, company = posting.text("title"), posting.text("company_name")
    return f"Application: {title or 'open position'}" + (f", {company}" if company else "")


def _team(posting: Posting) -> str:
    company = posting.text("company_name")
    return f"{company} team" if company else "hiring team"


def _position(posting: Posting) -> str:
    title, company, location = map(posting.text, ("title", "company_name", "location"))
    position = f"the position of {title}" if title else "your open position"
    return position + (f" at {company}" if company else "") + (f" ({location})" if location else "")


def _reason(posting: Posting) -> list[str]:
    if described := posting.text("short_description"):
        return [f"You describe it as “{described}”, and that is the work that I am looking for."]
    if field := posting.text("field"):
        return [f"Its field, {field}, is the one that I want to work in."]
    return []


def _evidence(posting: Posting, style: Style, cv: Cv, match: Match) -> list[str]:
    """What the CV shows for this job."""
    told = []
    if match.matched:
        told.append(f"What you ask for and I bring: {_listed(match.matched[:SKILLS_IN_LETTER])}.")
    if best := _best(posting, style, cv):
        told.append(f"From my work: {'; '.join(_quoted(line, position) for line, position in best)}.")
    return told


def _best(posting: Posting, style: Style, cv: Cv) -> list[tuple[Line, Position]]:
    """The lines of the experience that say most about this job."""
    lines = [(line, position) for position in cv.positions for line in position.highlights]
    scores = [posting.relevance(line, cv) for line, _ in lines]
    order = sorted(range(len(lines)), key=lambda n: -scores[n])
    return [lines[n] for n in order[: style.evidence] if scores[n]]


def _quoted(line: Line, position: Position) -> str:
    heading = position.heading[0] if position.heading else ""
    return f"“{line.text}” ({heading})" if heading else f"“{line.text}”"


def _questions(posting: Posting) -> list[str]:
    """Without a CV nothing is known of the person, so nothing is said."""
    if not posting.skills:
        return []
    return [f"You ask for {_listed(posting.skills[:SKILLS_IN_LETTER])}. I will gladly answer your questions on each."]


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
