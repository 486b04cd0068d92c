"""Stories of which the commands are tried, in the log of the test."""

from domain.application import Unfinished
from domain.commands import ApplicationCommands, Loaded
from domain.event import Cause
from domain.ports import Append, Claim
from tests.builders import APPLICATION_ID, ApplicationStory
from tests.fakes.event_log import FakeEventLog

WORKER = Cause("worker:w-1", causation_id="message-1")
MINE = Claim(APPLICATION_ID.hex, "w-1", 30)
YOURS = Claim(APPLICATION_ID.hex, "w-2", 30)


async def loaded_from(commands: ApplicationCommands, story: ApplicationStory, claim: Claim | None = None) -> Loaded:
    """The story gets into the log, and is as a worker has it that works under its newest start."""
    assert isinstance(commands.log, FakeEventLog)
    await FakeEventLog.append(commands.log, Append(story.recorded(), take=claim))
    loaded = await commands.load(story.id)
    assert loaded is not None
    return loaded


def busy(position: int = 1) -> Unfinished:
    return Unfinished(position, "503 Service Unavailable", "PortalBusyError")
