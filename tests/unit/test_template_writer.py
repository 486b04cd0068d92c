"""The offline writer: documents that follow from CV, job and style, and from nothing else (contract http.md 5.1)."""

import os
import subprocess
import sys
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.documents import DocumentRequest, WrittenDocuments, find_writer
from consumers.documents.template import TemplateWriter
from consumers.documents.words import mentions, phrase, words
from domain.job import Job
from tests.pdfs import MARY

CV = "\n".join(MARY)
JOB = {
    "title": "Senior Backend Engineer",
    "company_name": "Acme",
    "location": "Berlin",
    "short_description": "The backend of an order platform",
    "description": "Order services on Docker, with messages over RabbitMQ.",
    "skills_required": ("PostgreSQL", "Kafka", "Python"),
}


def a_job(**fields: Any) -> dict[str, Any]:
    """A job with all its fields; those that are not named are null."""
    return Job.model_validate(fields).model_dump()


async def write(
    job: dict[str, Any] | None = None, *, cv: str | None = CV, style: str | None = None
) -> WrittenDocuments:
    return await TemplateWriter().write(DocumentRequest(a_job(**(JOB if job is None else job)), style, cv, "app-1"))


async def resume(job: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    written = (await write(job, **options)).resume_optimized
    assert written is not None
    return written


async def letter(job: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    written = (await write(job, **options)).cover_letter
    assert written is not None
    return written


def highlights(written: dict[str, Any]) -> list[list[str]]:
    return [position["highlights"] for position in written["experience"]]


# -- the parts of a CV ------------------------------------------------------------------------------------------------


async def test_the_parts_of_a_cv_are_found() -> None:
    written = await resume()
    assert written["name"] == "Mary Shelley"
    assert written["headline"] == "Senior Python Engineer"
    assert written["contact"] == {
        "emails": ["mary@example.org"],
        "phones": ["+44 20 7946 0958"],
        "links": ["https://github.com/mary"],
        "others": [],
    }
    assert written["summary"] == "Engineer who builds event-sourced services and the teams around them."
    assert [position["heading"] for position in written["experience"]] == [
        ["Galvani Ltd, Senior Engineer, 2019 - 2024"],
        ["Villa Diodati, Developer, 2016 - 2019"],
    ]
    assert written["education"] == ["University of Ingolstadt, BSc Computer Science, 2016"]
    assert written["other"] == [{"heading": "Languages", "lines": ["English, French"]}]


@pytest.mark.parametrize(
    ("cv", "part", "expected"),
    [
        ("Ada\n\nE X P E R I E N C E\nACME 2020\n", "experience", [{"heading": ["ACME 2020"], "highlights": []}]),
        ("Ada\n1. Education:\nMIT", "education", ["MIT"]),
        ("Curriculum Vitae\nName: Ada Lovelace\nEducation\nMIT", "name", "Ada Lovelace"),
        ("Иван Петров\nОпыт работы\nЗавод, 2020\n• Варил сталь", "name", "Иван Петров"),
        ("Иван\nОпыт\nЗавод, 2020\n• Варил", "experience", [{"heading": ["Завод, 2020"], "highlights": ["Варил"]}]),
        ("山田\n■職歴\n会社 2020年\n・開発", "experience", [{"heading": ["会社 2020年"], "highlights": ["開発"]}]),
        ("محمد علي\nالتعليم\nجامعة القاهرة", "education", ["جامعة القاهرة"]),
        ("Ann\nAusbildung\nTU Wien", "education", ["TU Wien"]),
        ("A line that says something.\nAnother.", "other", [{"heading": None, "lines": [
            "A line that says something.", "Another."]}]),
    ],
)  # fmt: skip
async def test_headings_are_known_in_many_languages_and_settings(cv: str, part: str, expected: Any) -> None:
    assert (await resume(cv=cv))[part] == expected


async def test_positions_without_bullets_begin_where_a_year_stands() -> None:
    written = await resume(cv="Ada\nExperience\nAcme 2020\nBuilt things\nBeta 2018\nMended things\nSold things")
    assert [(p["heading"], p["highlights"]) for p in written["experience"]] == [
        (["Acme 2020"], ["Built things"]),
        (["Beta 2018"], ["Mended things", "Sold things"]),
    ]


async def test_a_highlight_that_was_broken_into_lines_is_one() -> None:
    long = "- Built a service that takes orders from every shop of the company, day and night, with"
    written = await resume({}, cv=f"Ada\nExperience\nAcme 2020\n{long}\nPostgreSQL\n- Also\nmore\nBeta 2018\n- X")
    assert highlights(written) == [[f"{long[2:]} PostgreSQL", "Also more"], ["X"]]


async def test_a_positions_own_list_of_technologies_is_no_heading() -> None:
    written = await resume({}, cv="Ada\nExperience\nAcme 2020\n- Built\nTechnologies: Go\nBeta 2018\n- Mended")
    assert [position["heading"] for position in written["experience"]][-1][-1] == "Beta 2018"
    assert written["skills"] == []


async def test_years_are_no_telephone_number() -> None:
    written = await resume(cv="Ada\nBorn 12.03.1985\n2016 - 2019\n(030) 123 45 67, Berlin\nEducation\nMIT")
    assert written["contact"]["phones"] == ["(030) 123 45 67"]
    assert written["contact"]["others"] == ["Berlin"]


# -- what follows from the job ----------------------------------------------------------------------------------------


async def test_skills_that_the_job_names_come_first() -> None:
    skills = (await resume())["skills"]
    assert [skill["name"] for skill in skills if skill["matched"]] == ["PostgreSQL", "Python", "Docker", "RabbitMQ"]
    assert [skill["name"] for skill in skills if not skill["matched"]] == ["Gardening", "Go"]


async def test_a_skill_that_the_cv_does_not_name_is_never_claimed() -> None:
    assert "Kafka" not in orjson.dumps(await resume()).decode()
    assert "Kafka" not in " ".join((await letter())["paragraphs"])


async def test_a_skill_is_a_whole_word() -> None:
    job = {"skills_required": ["Go", "Java", "C", "C++", "Node.js"]}
    written = await resume(job, cv="Ada\nSkills\nGoogle, JavaScript, C++, Node.js.")
    assert [skill["name"] for skill in written["skills"] if skill["matched"]] == ["C++", "Node.js"]


async def test_highlights_are_ordered_by_what_the_job_asks_for() -> None:
    assert highlights(await resume())[0][0].startswith("Built an order service in Python and PostgreSQL")
    party = await resume({"title": "Organiser of parties", "description": "The yearly summer party"})
    assert highlights(party)[0][0] == "Organised the yearly summer party"


async def test_without_anything_to_go_by_the_order_stays() -> None:
    assert highlights(await resume({})) == [
        [MARY[7][2:], MARY[8][2:], MARY[9][2:]],
        [MARY[11][2:], MARY[12][2:]],
    ]


async def test_the_resume_names_its_target() -> None:
    assert (await resume())["target"] == {"title": JOB["title"], "company_name": "Acme", "location": "Berlin"}
    assert (await resume({}))["target"] == {"title": None, "company_name": None, "location": None}


async def test_scripts_without_spaces_are_compared_as_well() -> None:
    cv = "山田太郎\n職務経歴\n株式会社 2020年\n• 経理を担当\n• 機械学習の基盤を開発\nスキル\n会計、機械学習"
    written = await resume({"title": "機械学習エンジニア", "skills_required": ["機械学習"]}, cv=cv)
    assert [skill["name"] for skill in written["skills"]] == ["機械学習", "会計"]
    assert highlights(written) == [["機械学習の基盤を開発", "経理を担当"]]


# -- the letter -------------------------------------------------------------------------------------------------------


async def test_the_letter_names_position_company_and_place() -> None:
    written = await letter()
    assert written["subject"] == "Application: Senior Backend Engineer, Acme"
    assert written["greeting"] == "Hello Acme team,"
    assert "the position of Senior Backend Engineer at Acme (Berlin)" in written["paragraphs"][0]
    assert "“The backend of an order platform”" in written["paragraphs"][1]
    assert written["signature"] == "Mary Shelley"
    assert written["contact"] == ["mary@example.org", "+44 20 7946 0958"]


async def test_the_letter_quotes_what_fits_best() -> None:
    paragraphs = " ".join((await letter())["paragraphs"])
    assert "PostgreSQL, Python, Docker and RabbitMQ" in paragraphs
    assert (
        "“Built an order service in Python and PostgreSQL that takes 4,000 orders a second” (Galvani Ltd" in paragraphs
    )
    assert "ghost stories" not in paragraphs


async def test_the_letter_quotes_nothing_that_does_not_fit() -> None:
    assert "From my work" not in " ".join((await letter({"title": "Lion tamer"}))["paragraphs"])


async def test_without_a_cv_there_is_a_letter_that_claims_nothing() -> None:
    written = await write(cv=None)
    assert written.resume_optimized is None
    assert written.cover_letter is not None
    assert written.cover_letter["signature"] is None
    assert "PostgreSQL, Kafka and Python" in " ".join(written.cover_letter["paragraphs"])
    assert await write(cv=" \n ") == written


async def test_a_job_that_says_nothing_gets_a_letter_as_well() -> None:
    written = await letter({}, cv=None)
    assert written["subject"] == "Application: open position"
    assert written["greeting"] == "Hello hiring team,"
    assert written["paragraphs"][0] == "I would like to join you for your open position."
    assert "None" not in orjson.dumps(written).decode()


async def test_a_long_or_broken_title_stays_on_one_short_line() -> None:
    written = await letter({"title": "Baker\n\n" + "of bread " * 200}, cv=None)
    assert written["subject"].startswith("Application: Baker of bread of")
    assert len(written["subject"]) < 250
    assert "\n" not in written["subject"]


# -- the style --------------------------------------------------------------------------------------------------------


async def test_the_style_sets_tone_and_layout() -> None:
    styles = [None, "classic", "something Creative, please", "minimal", "technical"]
    resumes = [await resume(style=style) for style in styles]
    assert [written["style"]["asked"] for written in resumes] == styles
    assert [written["style"]["name"] for written in resumes] == [
        "modern",
        "classic",
        "creative",
        "concise",
        "technical",
    ]
    assert len({tuple(written["style"]["sections"]) for written in resumes}) == 5
    letters = [await letter(style=style) for style in styles]
    assert len({tuple(written["paragraphs"]) for written in letters}) == 5
    assert len({written["closing"] for written in letters}) == 5


async def test_an_unknown_style_is_kept_by_name() -> None:
    assert (await letter(style="барокко"))["style"] == {"asked": "барокко", "name": "modern", "tone": "direct"}


async def test_a_brief_style_leaves_out_what_matters_least() -> None:
    many = "\n".join(f"- Fact {n}" for n in range(20))
    cv = f"Ada\nExperience\nAcme 2020\n{many}\n- Built PostgreSQL clusters"
    assert highlights(await resume(cv=cv, style="concise")) == [["Built PostgreSQL clusters", "Fact 0", "Fact 1"]]


# -- the same for the same, whatever comes ----------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys, orjson
from tests.unit.test_template_writer import JOB, write
written = asyncio.run(write(style="classic"))
sys.stdout.buffer.write(orjson.dumps([written.resume_optimized, written.cover_letter]))
"""


def test_the_same_request_gives_the_same_bytes_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(outputs) == 1
    assert b"Mary Shelley" in outputs.pop()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
LINES = st.sampled_from(
    [*MARY, "Experience", "Skills: a, b", "•", "- ", ":", "::", "---", "o", "1.", "名前", "@", "2020"]
)


@given(
    job=st.fixed_dictionaries(
        {},
        optional={
            "title": TEXT,
            "company_name": TEXT,
            "location": TEXT,
            "short_description": TEXT,
            "field": TEXT,
            "description": TEXT,
            "skills_required": st.lists(TEXT, max_size=5),
        },
    ),
    cv=st.lists(LINES | TEXT, max_size=30).map("\n".join) | st.none(),
    style=TEXT | st.none(),
)
async def test_any_request_gives_json(job: dict[str, Any], cv: str | None, style: str | None) -> None:
    written = await write(job, cv=cv, style=style)
    assert (written.resume_optimized is None) == (cv is None or not cv.strip())
    assert written.cover_letter is not None
    both = [written.resume_optimized, written.cover_letter]
    assert orjson.loads(orjson.dumps(both)) == both


async def test_halves_of_characters_and_controls_do_not_reach_the_documents() -> None:
    written = await resume(cv="Ada\ud800 Love\x00lace\nSkills\nPy\x07thon, \ufb01nance")
    assert written["name"] == "Ada Lovelace"
    assert [skill["name"] for skill in written["skills"]] == ["Python", "finance"]
    orjson.dumps(written)


async def test_the_largest_request_takes_no_longer_than_a_moment() -> None:
    job = {"title": "x " * 1000, "description": "word " * 10_000, "skills_required": [f"skill {n}" for n in range(200)]}
    began = time.perf_counter()
    await write(job, cv="\n".join([CV, *(f"- {n} " + "word, " * 80 for n in range(2_000))]))
    assert time.perf_counter() - began < 0.5


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Event-sourced, C++ & C#; Node.js.", ["event", "sourced", "c++", "c#", "node.js"]),
        ("ＰＹＴＨＯＮ Straße", ["python", "strasse"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("机器学习 AI研究", ["机器", "器学", "学习", "ai", "研究"]),
        ("語", ["語"]),
        ("...", []),
        ("", []),
    ],
)
def test_words_in_any_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [
        ("Machine learning with Python", "machine-learning", True),
        ("Googling", "Go", False),
        ("深度学习框架", "深度学习", True),
        ("anything", "...", False),
    ],
)
def test_what_one_text_mentions_of_another(whole: str, part: str, expected: bool) -> None:
    assert mentions(phrase(whole), phrase(part)) is expected


# -- how it is found --------------------------------------------------------------------------------------------------


def test_it_is_found_by_its_name() -> None:
    assert isinstance(find_writer("template"), TemplateWriter)


def test_a_writer_that_is_not_installed_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="DOCUMENT_WRITER: no adapter 'novel' in the entry point group") as error:
        find_writer("novel")
    assert "known: template" in str(error.value)
