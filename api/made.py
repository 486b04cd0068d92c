"""Something to read that stays the same while the process runs: documents, pages and what they load.

Who has it already is answered 304. It is compressed once, when it is made, for who takes that.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from aiohttp import hdrs, web

from api.operations import Media

UNCHANGED = {304: "The copy that `If-None-Match` names is still good"}
TAKES_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?:1|0?\.\d*[1-9])\d*\s*)?(?:,|$)", re.IGNORECASE | re.ASCII)
GZIP = "gzip"


@dataclass(frozen=True)
class Made:
    content: bytes
    media: Media
    headers: Mapping[str, str] = field(default_factory=dict)

    def compress(self) -> None:
        """Beforehand, as it takes its time."""
        _ = self._gzipped, self._tag

    def answer(self, request: web.Request) -> web.Response:
        coded = TAKES_GZIP.search(request.headers.get(hdrs.ACCEPT_ENCODING, "")) is not None
        tag = f"{self._tag}-{GZIP}" if coded else self._tag  # other bytes, so another tag
        headers = {
            hdrs.ETAG: f'"{tag}"',
            hdrs.CACHE_CONTROL: "no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            **self.headers,
        }
        if any(one.value in {tag, "*"} for one in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        headers[hdrs.CONTENT_TYPE] = self.media.content_type
        if coded:
            return web.Response(body=self._gzipped, headers={**headers, hdrs.CONTENT_ENCODING: GZIP})
        return web.Response(body=self.content, headers=headers)

    @cached_property
    def _gzipped(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def _tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]
