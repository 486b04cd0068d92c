"""Who may do what concerns everybody: the admin claim (contract http.md 9)."""

from aiohttp import web

from api.keys import CLAIMS, SETTINGS
from domain.errors import InsufficientPermissions

ROLES = frozenset({"operator", "admin"})


def check_queue_admin(request: web.Request) -> None:
    """Raises InsufficientPermissions, unless QUEUE_ADMIN_REQUIRED is off."""
    if request.app[SETTINGS].queue_admin_required:
        check_admin(request)


def check_admin(request: web.Request) -> None:
    """Raises InsufficientPermissions without `is_admin: true` and the role of an operator or an admin."""
    claims = request[CLAIMS].claims
    role = claims.get(request.app[SETTINGS].admin_role_claim)
    if claims.get("is_admin") is not True or not isinstance(role, str) or role not in ROLES:
        raise InsufficientPermissions("This needs a token of an operator or an admin")
