"""POST /applications: the CV (contract http.md 2)."""

import pytest

from tests.api import KB, ONE, PDF, Api, Part, User, cv_part, part

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (b"GIF89a", "application/pdf"),
        (b"x" * 1020 + b"%PDF-1.7", "application/pdf"),
        (b"x" * 5000, "application/pdf"),
        (b"", "application/pdf"),
        (PDF, "text/plain"),
        (PDF, "application/octet-stream"),
        (PDF, ""),
    ],
)
async def test_a_cv_that_is_no_pdf_is_refused(ada: User, content: bytes, type: str) -> None:
    answer = await ada.send_parts(part("jobs", ONE), cv_part(content, type=type))
    body = answer.refused(400, "ERR_4002", "InvalidResumeFormatError")
    assert body["details"][0]["field"] == "cv"


@pytest.mark.parametrize("type", ["application/pdf", "Application/PDF", "application/pdf; charset=binary"])
async def test_a_pdf_is_known_by_type_and_mark(api: Api, ada: User, type: str) -> None:
    content = b"x" * 1019 + PDF
    event = await api.stored(await ada.send_parts(part("jobs", ONE), cv_part(content, type=type)))
    assert event.cv
    assert event.cv.size == len(content)


@pytest.mark.parametrize("empty", [cv_part(b"", filename=""), part("cv", ""), part("cv", "", type="application/pdf")])
async def test_an_empty_part_without_a_file_name_is_no_cv(api: Api, ada: User, empty: Part) -> None:
    assert (await api.stored(await ada.send_parts(part("jobs", ONE), empty))).cv is None


async def test_a_cv_as_a_text_is_refused_unless_it_is_empty(ada: User) -> None:
    urlencoded = "application/x-www-form-urlencoded"
    (await ada.send(f"jobs={ONE}&cv=%25PDF-", urlencoded)).refused(400, "ERR_4002", "InvalidResumeFormatError")
    assert (await ada.send(f"jobs={ONE}&cv=", urlencoded)).status == 200


async def test_two_cvs_are_refused(ada: User) -> None:
    answer = await ada.send_parts(part("jobs", ONE), cv_part(PDF), cv_part(PDF))
    assert answer.refused(422, "ERR_1001", "ValidationError")["details"][0]["field"] == "cv"


async def test_a_cv_over_its_limit_is_refused(small: Api) -> None:
    user = small.user()
    assert (await user.submit(cv=PDF.ljust(8 * KB))).status == 200
    (await user.submit(cv=PDF.ljust(8 * KB + 1))).refused(413, "ERR_4003", "ResumeUploadError")


async def test_the_published_limit_of_a_cv_holds(api: Api, ada: User) -> None:
    most = 10 * KB * KB
    event = await api.stored(await ada.submit(cv=PDF.ljust(most)))
    assert event.cv
    assert len(await api.deps.cvs.read(event.cv.id) or b"") == most
    (await ada.submit(cv=PDF.ljust(most + 1))).refused(413, "ERR_4003", "ResumeUploadError")


async def test_a_cv_of_a_refused_submission_is_not_stored(api: Api, ada: User) -> None:
    stored_before = await _cvs(api)
    (await ada.submit({"jobs": []}, cv=PDF + ada.id.encode())).refused(422, "ERR_3002", "InvalidJobDataError")
    assert await _cvs(api) == stored_before


async def _cvs(api: Api) -> int:
    return int(await api.deps.cvs._cvs.count_documents({}))
