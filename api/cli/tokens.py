"""`app-manager token`: tokens for development and tests, signed with SECRET_KEY (contract cli.md 5, http.md 1.2)."""

from datetime import UTC, datetime, timedelta

from api.cli.ending import CommandFailed
from infra.settings import Settings
from infra.tokens import sign_token


def make_token(settings: Settings, user: str, *, minutes: int, admin: bool = False) -> str:
    """Raises CommandFailed, in production always: who may do what is not for a shell to say there.

    Always too with OIDC_ISSUER, as no token that is signed here would be accepted.
    """
    if settings.is_production:
        raise CommandFailed("tokens are not made here when ENVIRONMENT=production")
    if settings.oidc_issuer:
        raise CommandFailed(f"tokens are made by OIDC_ISSUER ({settings.oidc_issuer}): get one there")
    if not user or not user.isprintable():
        raise CommandFailed("USER must be a name of printable characters")
    try:
        return sign_token(
            user,
            key=settings.secret_key.get_secret_value(),
            algorithm=settings.algorithm,
            issued_at=datetime.now(UTC),
            life=timedelta(minutes=minutes),
            claims={"is_admin": True, settings.admin_role_claim: "admin"} if admin else {},
        )
    except OverflowError:
        raise CommandFailed("--minutes is more than a calendar holds") from None
