"""Submissions for the tests of portals."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from consumers.portals import CvFile, Submission


class Pdf:
    """A CvFile held in memory, given in chunks of a thousand bytes."""

    id = "cv-1"

    def __init__(self, content: bytes, failure: Exception | None = None, fails_at: int = 0) -> None:
        self._content, self._failure, self._fails_at = content, failure, fails_at
        self.size, self.sha256 = len(content), hashlib.sha256(content).hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, 1000):
            if self._failure and start >= self._fails_at:
                raise self._failure
            yield self._content[start : start + 1000]


def a_submission(
    title: str = "Baker", *, entry_id: str = "entry-1", cv: CvFile | None = None, **fields: Any
) -> Submission:
    job = {"title": title, "company_name": "Mill & Sons", "skills_required": ("Bread", "Rye")}
    return Submission(
        entry_id=entry_id,
        application_id=entry_id.split("-", maxsplit=1)[0],
        user_id="user-7",
        job=job,
        documents={"resume_optimized": None, "cover_letter": {"subject": "Baker"}},
        cv=cv,
        idempotency_key=f"{entry_id}-1",
        **fields,
    )
