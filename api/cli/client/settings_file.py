"""`~/.config/app-manager/config.env`: the settings that a user keeps (contract cli.md 2).

It holds a token, so only its owner may read it. It is written beside and renamed: a kill leaves the old file or the
new one. Whatever is in it that is not ours (comments, other names, lines that nobody understands) stays as it is.
"""

import io
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from api.cli.ending import CommandFailed

_BEFORE_A_NAME = re.compile(r"\s*(?:export[^\S\r\n]+)?")
_PLAIN = re.compile(r"[A-Za-z0-9@%_+=:,./-]*")


def settings_file() -> Path:
    try:
        return Path.home() / ".config" / "app-manager" / "config.env"
    except RuntimeError:
        raise CommandFailed("your home folder is not known: set HOME") from None


def read_settings(path: Path) -> dict[str, str]:
    """What it says; nothing if there is none. Of several lines for a name the last counts. Raises CommandFailed."""
    return {name: value for name, value, _ in _lines(_text(path)) if name is not None and value is not None}


def write_setting(path: Path, name: str, value: str) -> None:
    """In the place of the first line for that name, or at the end; at the beginning where what stands before hides it.

    Raises CommandFailed.
    """
    lines = [(line_name, line) for line_name, _, line in _lines(_text(path))]
    kept = [line for line_name, line in lines if line_name != name]
    told = _line(name, value)
    first = next((index for index, (line_name, _) in enumerate(lines) if line_name == name), None)
    if first is None:
        apart = "" if not kept or kept[-1].endswith(("\n", "\r")) else "\n"
        usual = "".join([*kept, apart, told])
    else:
        before = _BEFORE_A_NAME.match(lines[first][1])[0]  # type: ignore[index]  # it may be empty
        usual = "".join([*kept[:first], before + told, *kept[first:]])
    is_read = {n: v for n, v, _ in _lines(usual)}.get(name) == value
    try:
        _replace(path, usual if is_read else told + "".join(kept))
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None


def delete_settings(path: Path) -> bool:
    """False if there was none. Raises CommandFailed."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CommandFailed(f"{path} cannot be deleted: {error.strerror}") from None
    return True


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{path} cannot be read: it is not UTF-8 text") from None


def _lines(text: str) -> Iterator[tuple[str | None, str | None, str]]:
    """Name, value and the text that they stand in; together the texts are the file."""
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text, newline="")):
        yield (None if binding.error else binding.key), binding.value, binding.original.string


def _line(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'\n"


def _replace(path: Path, text: str) -> None:
    path = Path(os.path.realpath(path))  # a link to where somebody keeps such files stays one
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
