"""Words of a text in any script, so that texts of CVs and jobs can be compared.

A word is what stands between spaces and punctuation; `c++`, `c#` and `node.js` are words. Scripts without spaces
(Chinese, Japanese, Thai and others) give their pairs of neighbouring characters, which serve as words do.
"""

import re
import unicodedata

_PUNCTUATION = (
    r"\s!\"$%&'()*,/:;<=>?@\[\]\\^_`{|}~\-"
    "\u00a0-\u00bf\u00d7\u00f7\u060c\u061b\u061f\u0964\u0965\u2000-\u206f\u2190-\u2bff\u3000-\u303f\u30fb"
)
_WORD = re.compile(f"[^{_PUNCTUATION}]+")
_SEPARATORS = re.compile(f"[{_PUNCTUATION}.]+")
_WITHOUT_SPACES = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


def normal(text: str) -> str:
    """The form in which texts are compared: no case, no wide or ligature variants."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """In their order, in normal form."""
    found = [word.rstrip(".") for word in _WORD.findall(normal(text))]
    if text.isascii():
        return [word for word in found if word]
    return [part for word in found for part in _split(word)]


def phrase(text: str) -> str:
    """The words between single spaces: one text mentions another if its phrase holds the other's."""
    return f" {' '.join(words(text))} "


def mentions(whole: str, part: str) -> bool:
    """Whether one phrase holds the other, word for word."""
    return len(part) > 2 and part in whole


def squeezed(text: str) -> str:
    """Without spaces and punctuation, to recognise a heading however it is set."""
    return _SEPARATORS.sub("", normal(text))


def _split(word: str) -> list[str]:
    parts: list[str] = []
    for run in _WITHOUT_SPACES.split(word):
        if not run:
            continue
        if len(run) > 1 and _WITHOUT_SPACES.match(run):
            parts += [run[n : n + 2] for n in range(len(run) - 1)]
        else:
            parts.append(run)
    return parts
