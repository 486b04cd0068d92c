"""From operations to aiohttp's routes, with an answer of ours for every path and method (contract http.md 1.1, 1.7).

A known path has a fallback for other methods, and all other paths end in one last route: so neither 404 nor 405 comes
from aiohttp, and each request belongs to an operation.
"""

from collections.abc import Iterable
from itertools import groupby

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import AbstractRoute

from api.errors import MethodNotAllowed, RouteNotFound
from api.operations import VARIABLE, Bucket, Operation
from api.response_headers import RESPONSE_HEADERS

Routes = dict[AbstractRoute, Operation]

ROUTES = web.AppKey("ROUTES", Routes)


async def _not_found(request: web.Request) -> web.Response:
    """A slash too many or too few leads to the path without or with it; else there is nothing here."""
    url, path = request.rel_url, request.rel_url.raw_path
    other = (path.rstrip("/") or "/") if path.endswith("/") else f"{path}/"
    there = url.with_path(other, encoded=True, keep_query=True)
    found = await request.app.router.resolve(request.clone(rel_url=there))
    if request.app[ROUTES].get(found.route, UNMATCHED) is not UNMATCHED:
        return web.Response(status=308, headers={hdrs.LOCATION: str(there)})
    raise RouteNotFound("There is nothing at this path")


UNMATCHED = Operation("*", "unmatched", _not_found, bucket=Bucket.REQUESTS, public=True)


def add_routes(app: web.Application, operations: Iterable[Operation]) -> None:
    """Registers them, and makes each known by its route."""
    routes: Routes = {}
    by_path = sorted(operations, key=lambda operation: operation.path)
    for path, group in groupby(by_path, key=lambda operation: operation.path):
        known = list(group)
        below = "{below:[^/]*}" if any(operation.below for operation in known) else ""
        resource = app.router.add_resource(VARIABLE.sub(r"{\1:[^/]+}", path) + below)
        for operation in _with_fallback(path, known):
            for method in [operation.method, *([hdrs.METH_HEAD] if operation.method == hdrs.METH_GET else [])]:
                routes[resource.add_route(method, operation.respond, expect_handler=_wait)] = operation
    last = app.router.add_resource("/{path:.*}")
    routes[last.add_route("*", UNMATCHED.respond, expect_handler=_wait)] = UNMATCHED
    app[ROUTES] = routes


def _with_fallback(path: str, known: list[Operation]) -> list[Operation]:
    methods = {operation.method for operation in known}
    allowed = ", ".join(sorted(methods | ({hdrs.METH_HEAD} if hdrs.METH_GET in methods else set())))

    async def refuse(request: web.Request) -> web.Response:
        if request.app[RESPONSE_HEADERS].is_preflight(request):
            return request.app[RESPONSE_HEADERS].preflight(allowed)
        raise MethodNotAllowed(f"Allowed here: {allowed}", headers={hdrs.ALLOW: allowed})

    limited = any(operation.bucket is not Bucket.NONE for operation in known)
    bucket = Bucket.REQUESTS if limited else Bucket.NONE
    return [*known, Operation("*", path, refuse, bucket=bucket, public=True)]


async def _wait(_: web.Request) -> None:
    """`Expect: 100-continue` is answered by who reads the body, once its sender may come in."""
