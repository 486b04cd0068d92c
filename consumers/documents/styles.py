"""Styles of documents: their tone and layout. A user's style is free text; the words in it choose one of these."""

from dataclasses import dataclass

from consumers.documents.words import words


@dataclass(frozen=True, slots=True)
class Style:
    """`{position}` in the letter's sentences is the position with company and place; `{team}` whom it greets."""

    name: str
    tone: str
    sections: tuple[str, ...]  # of the resume, in the order in which they are to be shown
    highlights: int  # of one position
    evidence: int  # lines of the CV that the letter quotes
    greeting: str
    opening: str
    invitation: str
    closing: str


_USUAL = ("summary", "skills", "experience", "education", "other")

MODERN = Style(
    name="modern",
    tone="direct",
    sections=_USUAL,
    highlights=6,
    evidence=3,
    greeting="Hello {team},",
    opening="I would like to join you for {position}.",
    invitation="I would be glad to talk about what I can do for you.",
    closing="Kind regards",
)
CLASSIC = Style(
    name="classic",
    tone="formal",
    sections=("summary", "experience", "education", "skills", "other"),
    highlights=8,
    evidence=2,
    greeting="Dear {team},",
    opening="I hereby apply for {position}.",
    invitation="I would welcome the opportunity to introduce myself in person.",
    closing="Yours faithfully",
)
CREATIVE = Style(
    name="creative",
    tone="warm",
    sections=("summary", "experience", "skills", "other", "education"),
    highlights=5,
    evidence=2,
    greeting="Hi {team},",
    opening="When I read about {position}, I wanted to write to you at once.",
    invitation="Let us meet, and I will tell you the stories behind these lines.",
    closing="Looking forward to hearing from you",
)
CONCISE = Style(
    name="concise",
    tone="brief",
    sections=("skills", "experience", "education"),
    highlights=3,
    evidence=1,
    greeting="Hello {team},",
    opening="I apply for {position}.",
    invitation="May we talk?",
    closing="Regards",
)
TECHNICAL = Style(
    name="technical",
    tone="factual",
    sections=("skills", "experience", "other", "education", "summary"),
    highlights=8,
    evidence=3,
    greeting="Hello {team},",
    opening="I am applying for {position}.",
    invitation="I would be glad to go through any of this work in detail.",
    closing="Best regards",
)

_BY_WORD = {
    **dict.fromkeys(("modern", "contemporary", "fresh", "startup"), MODERN),
    **dict.fromkeys(
        ("classic", "classical", "traditional", "formal", "conservative", "executive", "academic"), CLASSIC
    ),
    **dict.fromkeys(("creative", "friendly", "casual", "playful", "bold", "warm"), CREATIVE),
    **dict.fromkeys(("concise", "minimal", "minimalist", "short", "brief", "simple", "compact"), CONCISE),
    **dict.fromkeys(("technical", "engineering", "engineer", "developer", "scientific"), TECHNICAL),
}


def style_of(asked: str | None) -> Style:
    """The first style that a word names; modern where none does."""
    return next((_BY_WORD[word] for word in words(asked or "") if word in _BY_WORD), MODERN)
