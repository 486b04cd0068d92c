"""A job as a writer reads it: what it asks for, and how well a line of a CV answers that."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from consumers.documents.cv import Cv, Line
from consumers.documents.words import mentions, phrase, words

CHARACTERS = 10_000  # of a description that are looked at
SHORT_CHARACTERS = 200
SCALE = 1000  # whole numbers add up to the same sum in any order

_WEIGHTS = {"description": 1, "short_description": 1, "field": 2, "experience": 1, "title": 3}
_SKILL_WEIGHT = 5


@dataclass(frozen=True)
class Posting:
    """The parts of a job that documents are made of; each may be missing."""

    job: Mapping[str, Any]

    def text(self, field: str) -> str | None:
        """A field on one line, shortened; None if it is empty."""
        line = " ".join(str(self.job.get(field) or "").split())
        return line if len(line) <= SHORT_CHARACTERS else f"{line[: SHORT_CHARACTERS - 1].rstrip()}…"

    @cached_property
    def skills(self) -> list[str]:
        """Those asked for, each once, in the job's order."""
        given = (" ".join(skill.split()) for skill in self.job.get("skills_required") or ())
        return list({phrase(skill): skill for skill in reversed([*given]) if skill}.values())[::-1]

    @cached_property
    def phrase(self) -> str:
        """The words of the whole posting."""
        return phrase("\n".join([*self.skills, *map(self._long_text, _WEIGHTS)]))

    @cached_property
    def weights(self) -> dict[str, int]:
        """How much each of its words counts."""
        weights: dict[str, int] = {}
        for field, weight in _WEIGHTS.items():
            for word in words(self._long_text(field)):
                weights[word] = max(weight, weights.get(word, 0))
        return weights | dict.fromkeys((word for skill in self.skills for word in words(skill)), _SKILL_WEIGHT)

    def _long_text(self, field: str) -> str:
        return str(self.job.get(field) or "")[:CHARACTERS]

    def relevance(self, line: Line, cv: Cv) -> int:
        """A word that stands in many lines of the CV, as `and` does, tells little of any one of them."""
        weights = self.weights
        return sum(weights[word] * SCALE // cv.frequency[word] for word in line.words if word in weights)


@dataclass(frozen=True, slots=True)
class Match:
    """Skills that both the CV and the posting name, and the CV's others."""

    matched: tuple[str, ...]
    others: tuple[str, ...]


def match_skills(posting: Posting, cv: Cv) -> Match:
    """What the job asks for comes first, in its order, then what its text mentions, in the CV's order."""
    asked = {phrase(skill): skill for skill in posting.skills if mentions(cv.phrase, phrase(skill))}
    named = {phrase(skill): skill for skill in cv.skills}
    mentioned = {key: skill for key, skill in named.items() if mentions(posting.phrase, key)}
    matched = asked | {key: skill for key, skill in mentioned.items() if key not in asked}
    return Match(tuple(matched.values()), tuple(skill for key, skill in named.items() if key not in matched))
