"""Server-sent events, put together from the bytes of a stream as the HTML standard has it (9.2.6).

What has not come to its blank line is no event yet, and never one if the stream ends there: whoever comes back with the
id of the last whole one is told it again. `retry` is left to who reads: how long he waits is his business.
"""

import codecs
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`last_id`: what a reader who has seen this event comes back with; empty if the stream has sent no id yet."""

    name: str
    data: str
    last_id: str


class EventReader:
    """Of one stream: the next one begins with another."""

    def __init__(self) -> None:
        utf8 = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = io.IncrementalNewlineDecoder(utf8, translate=True)  # CR LF, CR and LF are the end of a line
        self._begun = ""  # a line without its end
        self._name, self._data, self._last_id = "", list[str](), ""

    def feed(self, chunk: bytes) -> Sequence[ServerEvent]:
        """The events that end in this chunk, which may begin and end anywhere."""
        *lines, self._begun = (self._begun + self._text.decode(chunk)).split("\n")
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: str) -> ServerEvent | None:
        if line:
            self._keep(line)
            return None
        event = ServerEvent(self._name or "message", "\n".join(self._data), self._last_id) if self._data else None
        self._name, self._data = "", []
        return event

    def _keep(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._last_id = value
            case _:  # a comment has no name, and what nobody knows is passed over
                pass
