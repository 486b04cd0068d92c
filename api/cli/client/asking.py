"""Asks before something is done that the user may not have meant (contract cli.md 3: prompts)."""

import sys
from contextlib import suppress

from api.cli.ending import CommandFailed


def confirmed(question: str, *, force: bool, deletes: bool = False) -> bool:
    """Whether to go ahead; says so if not. Without a terminal nobody is asked: what deletes then needs --force."""
    if force:
        return True
    if not _somebody_is_there():
        if deletes:
            raise CommandFailed("nobody can be asked without a terminal, and nothing was done: add --force to delete")
        return True
    _tell(f"{question} [y/N] ")
    answer = sys.stdin.readline()
    if answer.strip().lower() in {"y", "yes"}:
        return True
    _tell("Nothing was done.\n" if answer.endswith("\n") else "\nNothing was done.\n")
    return False


def _somebody_is_there() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _tell(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
