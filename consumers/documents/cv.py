"""A CV's parts, found in its text: name, contact, summary, positions, education, skills (contract http.md 5.1).

CVs follow no form, so these are guesses, and careful ones: a line of the text ends up in one part, in its own words,
and what is not understood stays under `others`. Pure: the same text gives the same parts.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from unicodedata import normalize

from consumers.documents.headings import DOCUMENT_TITLES, Section, section_of
from consumers.documents.words import phrase, squeezed, words

CHARACTERS = 50_000  # of the text that are looked at
LINES = 1_000
LINE_CHARACTERS = 500
HEADING_CHARACTERS = 60
FULL_LINE_CHARACTERS = 75  # a line so long may have been broken
CONTACT_LINES = 40
SKILL_LINES = 100
SKILLS = 100

_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\ufeff\ufffd\ud800-\udfff]")
_BULLET = re.compile(r"^(?:[•●◦▪■□‣⁃∙·・○❖➢➤✓✔*–—-]+|o(?=\s))\s*")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_EMAIL = re.compile(r"[^\s@|,;:<>()]+@[^\s@|,;:<>()]+\.[^\s@|,;:<>().]+")
_LINK = re.compile(r"(?:https?://|www\.|(?:linkedin|github|gitlab|xing)\.com/)[^\s|,;<>()]+", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w/])\+?[(]?\d[\d\s().-]{5,18}\d(?!\w)")
_DATES = re.compile(r"\W*(?:\d{1,2}\W+){0,2}(?:19|20)\d\d(?:\W+(?:19|20)\d\d)?\W*$")
_BETWEEN_SKILLS = re.compile(r"[,;|•·、](?![^()]*\))")


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Position:
    """One job that somebody had: whose and when in its heading, what was done in its highlights."""

    heading: tuple[str, ...]
    highlights: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cv:
    name: str | None
    headline: str | None
    contact: Contact
    summary: str | None
    positions: tuple[Position, ...]
    education: tuple[str, ...]
    skills: tuple[str, ...]
    others: tuple[tuple[str | None, tuple[str, ...]], ...]  # heading and lines
    phrase: str  # of the whole text
    frequency: Counter[str]  # in how many lines each word stands


@dataclass(slots=True)
class _Sections:
    """The text's lines under the headings that stand in it; the first ones stand under none."""

    top: list[str] = field(default_factory=list)
    known: dict[Section, list[str]] = field(default_factory=dict)
    others: list[tuple[str, list[str]]] = field(default_factory=list)


@lru_cache(maxsize=32)
def parse_cv(text: str) -> Cv:
    """The parts of a CV. Remembers the last ones: the jobs of one application share their CV."""
    lines = _lines(text)
    sections = _sections(lines)
    contact_lines = sections.known.get(Section.CONTACT, [])
    name, headline, rest = _top(sections.top)
    contact, rest = _contact(rest, contact_lines)
    summary = [*rest, *sections.known.get(Section.SUMMARY, [])] if sections.known else []
    others = [(heading, tuple(lines)) for heading, lines in sections.others]
    return Cv(
        name=name,
        headline=headline,
        contact=contact,
        summary=" ".join(map(_without_bullet, summary)) or None,
        positions=tuple(_positions(sections.known.get(Section.EXPERIENCE, []))),
        education=tuple(map(_without_bullet, sections.known.get(Section.EDUCATION, []))),
        skills=tuple(_skills(sections.known.get(Section.SKILLS, []))),
        others=tuple(others) if sections.known or not rest else ((None, tuple(rest)), *others),
        phrase=phrase("\n".join(lines)),
        frequency=Counter(word for line in lines for word in set(words(line))),
    )


def _lines(text: str) -> list[str]:
    clean = _UNPRINTABLE.sub("", normalize("NFKC", text[:CHARACTERS]))
    lines = (" ".join(line.split())[:LINE_CHARACTERS] for line in clean.splitlines())
    return [line for line in lines if line][:LINES]


def _sections(lines: Iterable[str]) -> _Sections:
    found = _Sections()
    current = found.top
    for line in lines:
        heading, _, rest = (part.strip() for part in line.partition(":"))
        section = section_of(heading) if len(heading) <= HEADING_CHARACTERS else None
        if section is None or (rest and _belongs(line, section, current is found.known.get(Section.EXPERIENCE))):
            current.append(line)
            continue
        if section is Section.OTHER:
            current = []
            found.others.append((heading, current))
        else:
            current = found.known.setdefault(section, [])
        if rest:
            current.append(rest)
    return found


def _belongs(line: str, section: Section, in_experience: bool) -> bool:
    """Whether a line like `Technologies: Go, Rust` is one of its section, and no heading."""
    return bool(_BULLET.match(line)) or (in_experience and section is Section.SKILLS)


# -- the top ----------------------------------------------------------------------------------------------------------


def _top(lines: Sequence[str]) -> tuple[str | None, str | None, list[str]]:
    """Name and headline are the first two lines that may be such; the rest is left."""
    left = [line for line in lines if squeezed(line) not in DOCUMENT_TITLES]
    name = left.pop(0).rpartition(":")[2].strip() or None if left and _is_title(left[0]) else None
    headline = left.pop(0) if name and left and _is_title(left[0]) else None
    return name, headline, left


def _is_title(line: str) -> bool:
    return len(line) <= HEADING_CHARACTERS and not any(c.isdigit() or c == "@" for c in line) and line[-1] != "."


def _contact(top: Sequence[str], section: Sequence[str]) -> tuple[Contact, list[str]]:
    """What reaches a person, and the lines of the top that hold none of it."""
    emails, phones, links = [], [], []
    others: list[str] = []
    rest: list[str] = []
    for number, line in enumerate((*top[:CONTACT_LINES], *section[:CONTACT_LINES])):
        found_links = _LINK.findall(line)
        left = _LINK.sub(" ", line)
        found_emails = _EMAIL.findall(left)
        left = _EMAIL.sub(" ", left)
        found_phones = [phone.strip() for phone in _PHONE.findall(left) if not _DATES.match(phone)]
        links += found_links
        emails += found_emails
        phones += found_phones
        if not (found_links or found_emails or found_phones):
            (rest if number < min(len(top), CONTACT_LINES) else others).append(line)
        else:
            others += _remains(_PHONE.sub(" ", left))
    contact = Contact(*(tuple(dict.fromkeys(found)) for found in (emails, phones, links, others)))
    return contact, [*rest, *top[CONTACT_LINES:]]


def _remains(line: str) -> list[str]:
    """What else a line of contacts tells, a town say, without labels such as `Tel:`."""
    parts = (part.strip() for part in _BETWEEN_SKILLS.split(line))
    return [part for part in parts if part and not part.endswith(":") and not (part.isascii() and len(part) <= 4)]


# -- experience -------------------------------------------------------------------------------------------------------


def _positions(lines: Iterable[str]) -> Iterable[Position]:
    """A position begins with the lines before its bullets; where nothing has bullets, with a line that has a year."""
    lines = list(lines)
    bulleted = any(_BULLET.match(line) for line in lines)
    heading: list[str] = []
    highlights: list[str] = []
    before = ""
    for line in lines:
        text = _without_bullet(line)
        if bulleted and text != line:
            highlights.append(text)
        elif bulleted and highlights and _continues(text, before):
            highlights[-1] = f"{highlights[-1]} {text}"
        elif bulleted or _YEAR.search(text) or not heading:
            if highlights:
                yield _position(heading, highlights)
                heading, highlights = [], []
            heading.append(text)
        else:
            highlights.append(text)
        before = line
    if heading or highlights:
        yield _position(heading, highlights)


def _continues(text: str, before: str) -> bool:
    """Whether a line goes on with the highlight in the line before it, which was broken for its length."""
    return text[0].islower() or (len(before) >= FULL_LINE_CHARACTERS and not _YEAR.search(text))


def _position(heading: Iterable[str], highlights: Iterable[str]) -> Position:
    return Position(tuple(heading), tuple(Line(text, frozenset(words(text))) for text in highlights))


def _without_bullet(line: str) -> str:
    return _BULLET.sub("", line) or line


# -- skills -----------------------------------------------------------------------------------------------------------


def _skills(lines: Sequence[str]) -> list[str]:
    """Each once, in their order, without the group that may stand before them (`Languages: Go, Rust`)."""
    found: dict[str, str] = {}
    for line in lines[:SKILL_LINES]:
        group, colon, rest = _without_bullet(line).partition(":")
        for skill in _BETWEEN_SKILLS.split(rest if colon and rest else group):
            name = skill.strip(" .")
            if name:
                found.setdefault(squeezed(name) or name, name)
    return list(found.values())[:SKILLS]
