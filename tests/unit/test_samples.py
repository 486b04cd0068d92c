"""The demo's samples: a PDF that real readers take, and jobs that go nowhere but to the sandbox."""

import io

from pypdf import PdfReader

from api.cli.samples import CV_LINES, pdf, samples


def test_the_cv_is_a_pdf_with_its_lines_as_text() -> None:
    page = PdfReader(io.BytesIO(pdf(CV_LINES)), strict=True).pages[0]
    text = page.extract_text()
    assert [line for line in CV_LINES if line and line not in text] == []


def test_its_table_says_where_each_object_begins() -> None:
    content = pdf(CV_LINES)
    offsets = [int(line.split()[0]) for line in content.splitlines() if line.endswith(b" 00000 n ")]
    assert len(offsets) == 5
    assert [content[offset:].split(b"\n")[0] for offset in offsets] == [b"%d 0 obj" % n for n in range(1, 6)]


def test_signs_that_mean_something_to_a_pdf_stay_text() -> None:
    line = r"C:\folder (and a half) ) ("
    assert line in PdfReader(io.BytesIO(pdf([line])), strict=True).pages[0].extract_text()


def test_every_job_names_the_sandbox_portal() -> None:
    assert {job["portal"] for sample in samples() for job in sample.jobs} == {"sandbox"}
