"""How a command ends: its exit codes (contract cli.md 3), and one readable line on stderr instead of a traceback."""

DONE = 0
FAILED = 1  # refused to run, or halted for a reason that starting it again would not change
USAGE = 2
CRASHED = 70  # an error that nobody foresaw: its traceback is in the log, and a supervisor starts the role again
INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do its work: one line that says why and what to do about it. Exit code 1."""


def first_cause(error: BaseException) -> BaseException:
    """The first error inside groups of errors, which say nothing themselves."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
