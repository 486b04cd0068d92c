"""`audit verify`: on the log of this service (`api/cli/audit/offline.py`: on an export of one)."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.cli.audit.chain import Chain, read_checkpoints
from api.cli.audit.findings import Findings
from api.cli.audit.log import BEFORE_ALL, events_of, read_ahead
from api.cli.audit.verification import Verification
from api.cli.client.output import Parts, plain, when
from api.cli.ending import CommandFailed
from api.cli.progress import bar
from infra.audit_keys import AuditKeyError, PublicKey, public_keys, signing_key
from infra.checkpoints import CheckpointFolder, Line
from infra.log_database import LogAdapter
from infra.memory import rare_collections
from infra.settings import Settings

Body = dict[str, Any]


def keys_of(settings: Settings, file: Path | None) -> Mapping[str, PublicKey]:
    """Those in the file, else the public half of AUDIT_SIGNING_KEY. Raises CommandFailed."""
    try:
        if file is not None:
            return {key.id: key for key in public_keys(file)}
        if settings.audit_signing_key.exists():
            key = signing_key(settings.audit_signing_key).public
            return {key.id: key}
    except AuditKeyError as error:
        raise CommandFailed(str(error)) from None
    raise CommandFailed("no key to check the checkpoints with: --public-key FILE, or AUDIT_SIGNING_KEY")


def folder_lines(settings: Settings) -> Iterator[Line]:
    """Those that there are now, however late they are read. Raises CommandFailed, also while they are read."""
    with _readable(settings):
        lines = CheckpointFolder(settings.audit_checkpoint_dir).lines()
    return _read(lines, settings)


def _read(lines: Iterator[Line], settings: Settings) -> Iterator[Line]:
    with _readable(settings):
        yield from lines


@contextmanager
def _readable(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{settings.audit_checkpoint_dir} cannot be read: {error.strerror} (AUDIT_CHECKPOINT_DIR)"
        raise CommandFailed(message) from None


def named_copy(settings: Settings) -> list[Line] | None:
    """What AUDIT_CHECKPOINT_DIR names, if it does: what is under .data/ here may be of another service."""
    default = Settings.model_fields["audit_checkpoint_dir"].default
    return None if settings.audit_checkpoint_dir == default else list(folder_lines(settings))


def verify_log(log: LogAdapter, lines: Iterable[Line], keys: Mapping[str, PublicKey], source: str) -> Body:
    """`lines` are those that there were before this is called: the log goes on meanwhile."""
    findings, evidence = Findings(), Findings()
    head = log.head()
    chain = Chain(read_checkpoints(lines, keys, evidence), evidence)
    verification = Verification(findings, chain)
    with rare_collections(), bar("Verify", head) as tell:
        for events in read_ahead(verification.chained(events_of(log, BEFORE_ALL, head))):
            verification.add(events)
            tell(verification.last)
    verification.end()
    if head and not chain.count:
        evidence.add("there are no checkpoints: nothing tells whether the log is as it was written")
    return report(source, verification, evidence)


def report(source: str, verification: Verification, evidence: Findings, **more: Any) -> Body:
    """What is wrong with the evidence comes first, lest it be lost among much else."""
    chain, findings = verification.chain, evidence.then(verification.findings)
    last = chain.last if chain else None
    return {
        "source": source,
        "ok": findings.count == 0,
        "events": verification.events,
        "streams": verification.streams,
        "position": verification.last,
        "checkpoints": chain.count if chain else None,
        "sealed_events": chain.sealed if chain else None,
        "unsealed_events": chain.unsealed if chain else None,
        "skipped_events": chain.skipped if chain else None,
        "sealed_until": last.position if last else None,
        "sealed_at": last.at if last else None,
        "checked_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **more,
        "problems": findings.count,
        "listed": findings.listed,
    }


def parts(body: Body) -> Parts:
    yield f"{body['source']}: {body['events']} events in {body['streams']} streams, up to position {body['position']}"
    if body.get("part"):
        yield f"this is a part of the log ({plain(body['part'])}): {body['not_checked']}"
    if body["checkpoints"] is not None:
        yield f"{body['sealed_events']} are as {body['checkpoints']} checkpoints sealed them"
    if body["skipped_events"]:
        yield f"{body['skipped_events']} are before the first checkpoint that is here, and cannot be held against it"
    if body["unsealed_events"]:
        since = f"since the last checkpoint, {when(body['sealed_at'])}" if body["sealed_at"] else "yet"
        yield f"{body['unsealed_events']} are not sealed {since}"
    yield from map(plain, body["listed"])
    if body["problems"] > len(body["listed"]):
        yield f"and {body['problems'] - len(body['listed'])} more"
    if body["ok"]:
        yield "nothing is wrong"
