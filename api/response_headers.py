"""Headers of every answer: safe by default, and open to other origins only by CORS_ALLOWED_ORIGINS.

They are set just before an answer begins, so that errors and streams have them too. A handler that sets one of them
itself keeps its own. Cross-origin calls carry a token and no cookie, so credentials are never allowed. aiohttp-cors is
not used: it wants OPTIONS of each path for itself, where ours belongs to the fallback that tells the allowed methods.
"""

from collections.abc import Mapping, Sequence

from aiohttp import hdrs, web

SAFE: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
SERVER = "application-manager"
ANY = "*"
SENT = (
    *("Authorization", "Content-Type", "X-Correlation-ID", "X-Request-ID", "X-Idempotency-Key", "X-Event-Position"),
    *("Last-Event-ID",),
)
EXPOSED = (
    *("X-Correlation-ID", "X-Request-ID", "X-Event-Position", "X-Idempotency-Replayed", "Retry-After"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Content-Disposition"),
)
MAX_AGE_SECONDS = 600


class ResponseHeaders:
    """`origins` are those that may call from a browser; `*` is any."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def tell(self, request: web.Request, response: web.StreamResponse, *, private: bool) -> None:
        """`private`: the answer is one user's, and is kept by nobody."""
        headers = response.headers
        headers[hdrs.SERVER] = SERVER  # aiohttp has told its version there by now
        for name, value in SAFE.items():
            headers.setdefault(name, value)
        if private:
            headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if self._origins:
            self._tell_origin(request, response)
        else:
            headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")

    def is_preflight(self, request: web.Request) -> bool:
        """Whether a browser asks if it may make a call that we allow from there."""
        asks = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        return request.method == hdrs.METH_OPTIONS and asks and self._allows(request.headers.get(hdrs.ORIGIN))

    def preflight(self, allowed: str) -> web.Response:
        """`allowed` are the methods of the path."""
        told = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: allowed,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(SENT),
            hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE_SECONDS),
        }
        return web.Response(headers=told)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (origin in self._origins or ANY in self._origins)

    def _tell_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        headers, origin = response.headers, request.headers.get(hdrs.ORIGIN)
        headers[hdrs.VARY] = f"{vary}, Origin" if (vary := headers.get(hdrs.VARY)) else "Origin"
        if origin is not None and self._allows(origin):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if ANY in self._origins else origin
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(EXPOSED)


RESPONSE_HEADERS = web.AppKey("RESPONSE_HEADERS", ResponseHeaders)
