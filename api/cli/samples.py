"""What the demo submits: applications of three users, which end in every way a portal can answer.

All jobs go to the sandbox portal by name, so that the demo never reaches a portal of the user's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One submission, and what it shows."""

    user: str
    shows: str
    jobs: tuple[dict[str, Any], ...]
    style: str | None = None
    cv: bytes | None = None


def _job(title: str, company: str, location: str, skills: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "portal": "sandbox",
        "title": title,
        "company_name": company,
        "location": location,
        "skills_required": list(skills),
        **more,
    }


def pdf(lines: Sequence[str]) -> bytes:
    """A PDF of one page with these lines of plain ASCII text, the smallest that a reader of text understands."""
    escaped = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines]
    content = "BT /F1 11 Tf 14 TL 60 780 Td " + " ".join(f"({line}) Tj T*" for line in escaped) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("ascii")


CV_LINES = (
    "Ann Example",
    "ann@example.org | Berlin",
    "",
    "Summary",
    "Backend developer with eight years of Python and event-driven systems.",
    "",
    "Experience",
    "Senior Developer, Initech, 2021 - today",
    "- Moved an order system to event sourcing on PostgreSQL and RabbitMQ",
    "- Cut the time of nightly reports from hours to minutes",
    "Developer, Globex, 2017 - 2021",
    "- Built REST services with asyncio and MongoDB",
    "",
    "Education",
    "BSc Computer Science, 2017",
    "",
    "Skills",
    "Python, PostgreSQL, RabbitMQ, MongoDB, Docker",
)


def samples() -> list[Sample]:
    """Half a dozen submissions; the slowest waits for two retries."""
    python = _job("Python Developer", "Acme", "Berlin", ["Python", "PostgreSQL"], workplace_type="remote")
    return [
        Sample("ann", "a CV, from which a resume is made", (python,), "modern", pdf(CV_LINES)),
        Sample(
            "ann",
            "two jobs, both applied",
            (
                _job("Data Engineer", "Globex", "Hamburg", ["Python", "Spark"]),
                _job("Platform Engineer", "Initech", "Munich", ["Kubernetes"]),
            ),
        ),
        Sample("ann", "a refusal by the portal", (_job("Team Lead [reject]", "Hooli", "Berlin", ["Leadership"]),)),
        Sample(
            "ben", "a portal that is away for two attempts", (_job("SRE [fail:2]", "Umbrella", "Remote", ["Linux"]),)
        ),
        Sample(
            "ben",
            "one job applied, one refused",
            (
                _job("Go Developer", "Stark", "Cologne", ["Go"]),
                _job("Architect [reject]", "Wayne", "Cologne", ["Design"]),
            ),
            "classic",
        ),
        Sample("cleo", "a slow portal", (_job("Product Manager [slow:1]", "Tyrell", "Vienna", ["Roadmaps"]),)),
    ]
