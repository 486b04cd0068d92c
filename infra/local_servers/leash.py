"""Turns into a server that does not outlive its starter: `leash.py PARENT SIGNAL USER:GROUP FOLDER COMMAND...`.

A program of its own, run by path with a bare interpreter (40 ms), because code between fork and exec is unsafe in a
process with threads. It drops root if told to, asks the kernel for SIGNAL when its parent dies, and becomes COMMAND.
The order matters: a change of user clears the request, and a parent that died before the request is seen in its id.
Linux only.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OPEN_FILES = 65_536  # more is no use to us, and Erlang takes memory for each


def _drop_to(account: str) -> None:
    user, group = map(int, account.split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def _tie_to(parent: int, death_signal: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("its starter is gone")


def _as_a_shell_would_start_it() -> None:
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def main() -> None:
    parent, death_signal, account, folder, *command = sys.argv[1:]
    os.setsid()  # Ctrl-C in the terminal is for the starter, which stops its servers in order
    try:
        os.chdir(folder)
        _as_a_shell_would_start_it()
        if account:
            _drop_to(account)
        _tie_to(int(parent), int(death_signal))
        os.execv(command[0], command)  # noqa: S606 - a shell is what must not stand between
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
