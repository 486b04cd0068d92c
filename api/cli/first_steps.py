"""What `up` prints last: a token and lines that can be pasted as they are."""

import shlex
import sys
from pathlib import Path

import orjson

from api.cli.terminal import Terminal

DEVELOPER = "ann"  # the user whose token is printed; the demo's first
_JOB = {"title": "Data Engineer", "company_name": "Initech", "location": "Berlin"}


def tell_first_steps(url: str, token: str | None, application_id: str | None, terminal: Terminal) -> None:
    """No `token` (production, an issuer): only what needs none. No `application_id`: nothing was submitted."""
    terminal.tell(f"\nTo try it, paste any of these lines:\n\ncurl -s {url}/health")
    if token is not None:
        terminal.tell("\n".join(_calls(url, token, application_id)))
        terminal.tell(f"\nToken of user {DEVELOPER} (24 hours; `{_command()} token USER` makes others):\n\n{token}")
    terminal.tell("\nCtrl-C ends all.")


def _calls(url: str, token: str, application_id: str | None) -> list[str]:
    curl = f"curl -s -H 'Authorization: Bearer {token}'"
    form = shlex.quote("jobs=" + orjson.dumps({"jobs": [_JOB]}).decode())
    lines = [f"{curl} --data-urlencode {form} {url}/applications", f"{curl} '{url}/applied?limit=5'"]
    if application_id is not None:
        lines += [
            f"{curl} '{url}/fail_applied?limit=5'",
            f"{curl} {url}/applications/{application_id}/status",
            f"{curl} {url}/applied/{application_id}",
        ]
    return lines


def _command() -> str:
    """How this command was called, so that it can be called so again."""
    return "python -m api.cli" if Path(sys.argv[0]).name == "__main__.py" else sys.argv[0]
