"""How a command ends: its exit codes (contract cli.md 3), and readable lines on stderr instead of a traceback.

Only a role (`serve`, `project`, `relay`, `work`, `sandbox`) ends with CRASHED, 70 (additions to the contract, cli.md):
it tells whoever supervises it that starting it again may help, where 1 says that it would not. Any other command ends
with 1 then.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DONE = 0
FAILED = 1  # refused to run, or halted for a reason that starting it again would not change
USAGE = 2
CRASHED = 70  # a role met an error that nobody foresaw: the log has its traceback, and a supervisor starts it again
INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do its work: one line that says why and what to do about it. Exit code 1.

    `lines`: what else is known about it, one a line.
    """

    def __init__(self, message: str, *lines: str) -> None:
        super().__init__(message)
        self.lines = lines


def tell_error(error: Exception) -> None:
    """On stderr, as the contract says; nowhere if nobody reads there any more."""
    lines = error.lines if isinstance(error, CommandFailed) else ()
    with suppress(OSError, ValueError):
        print("\n".join([f"Error: {error}", *lines]), file=sys.stderr, flush=True)


def first_cause(error: BaseException) -> BaseException:
    """The first error inside groups of errors, which say nothing themselves."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What keeps the file from being written is told in one line; a reader who has gone is no such thing."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None
