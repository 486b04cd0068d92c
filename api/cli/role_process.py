"""One role as this process: settings read once, logs, signals, and how it ends (contract cli.md 3 and 5).

A role ends with 0 after SIGTERM, 130 after Ctrl-C, and 1, with one line, when starting it again would change nothing:
a setting, a taken port, a standalone MongoDB, an event of a newer release. Any other error is logged with its traceback
and ends it with 70, so that whoever supervises it starts it again. A second signal ends it at once.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable

import uvloop

from api.cli.ending import CRASHED, FAILED, CommandFailed, first_cause
from api.cli.interruption import Interruption
from api.cli.settings_here import settings_here
from domain.errors import NewerEvent
from infra.logs import LogWriter, setup_logging
from infra.settings import Settings, SettingsError
from infra.tracing import traced

# These end in the same way whenever they are started again.
HALTING = (CommandFailed, NewerEvent)

Role = Callable[[Settings, asyncio.Event], Awaitable[None]]

logger = logging.getLogger(__name__)


def command_line(command: str) -> list[str]:
    """`app-manager <command>` by this interpreter; `-P`: a folder here with one of our names is not taken for ours."""
    return [sys.executable, "-P", "-m", "api.cli", command]


def run_role(name: str, role: Role) -> int:
    """Runs it until it ends or is interrupted: the exit code. Raises CommandFailed, SettingsError."""
    try:
        return _run(name, role)
    except (CommandFailed, SettingsError):
        raise
    except Exception as error:
        return _tell(name, first_cause(error))


def _run(name: str, role: Role) -> int:
    settings = settings_here()
    logs = setup_logging(
        service=settings.service_name,
        environment=settings.environment,
        level="DEBUG" if settings.debug else settings.log_level,
        json_lines=settings.json_logs,
        secrets=settings.secrets,
    )
    try:
        with traced(settings, name), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_interrupted(name, role, settings, logs))
    finally:
        logs.stop()


async def _until_interrupted(name: str, role: Role, settings: Settings, logs: LogWriter) -> int:
    interruption = Interruption()
    with interruption.listening():
        logger.info("%s starts", name, extra={"event_type": "role.started"})
        running = asyncio.ensure_future(role(settings, interruption.asked))
        urged = asyncio.create_task(interruption.urged.wait())
        await asyncio.wait({running, urged}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            logger.warning("%s is ended at once", name, extra={"event_type": "role.urged"})
            logs.stop()
            os._exit(interruption.exit_code)
        urged.cancel()
        if error := running.exception():
            return _tell(name, first_cause(error))
        logger.info("%s has ended", name, extra={"event_type": "role.ended"})
        return interruption.exit_code


def _tell(name: str, error: BaseException) -> int:
    if isinstance(error, HALTING):
        logger.error("%s halts: %s", name, error, extra={"event_type": "role.halted"})
        print(f"Error: {error}", file=sys.stderr)
        return FAILED
    logger.critical("%s crashed", name, exc_info=error, extra={"event_type": "role.crashed"})
    print(f"Error: unexpected {type(error).__name__}; the log has more", file=sys.stderr)
    return CRASHED
