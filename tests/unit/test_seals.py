"""The hash chain: what is sealed, byte by byte, and what a checkpoint is worth."""

from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from infra.audit_keys import SigningKey
from infra.seals import START, Checkpoint, Digest, canonical, sealed
from tests.evidence import AT, KEY, checkpoints_over, stored_events

STREAM = UUID("0199a0b1-c2d3-7e4f-8a5b-6c7d8e9f0a1b")
STORED = StoredEvent(STREAM, 3, "batch.cancelled", b'{"v":1}')


def test_the_canonical_form_never_changes() -> None:
    """It is in every checkpoint that was ever made."""
    assert canonical(STORED, 258).hex() == (
        "0000000000000102" + STREAM.hex + "0000000000000003" + "0000000f" + "00000007"
        + b"batch.cancelled".hex() + b'{"v":1}'.hex()
    )  # fmt: skip


def test_a_digest_never_changes() -> None:
    digest = Digest()
    digest.add([(STORED, 258)])
    assert (digest.hex, digest.count) == ("0726d62b33e4ce53195ab8ac6392a913a7eb784fa84c4a3c427a8b08bbc3a6f9", 1)


def test_a_checkpoint_never_changes() -> None:
    made = sealed(None, [(STORED, 258)], KEY, AT)
    assert made.line.decode() == (
        f'{{"number":1,"position":258,"count":1,"digest":"{made.digest}","previous":"{START}",'
        '"at":"2026-01-01T12:00:00.000Z","key_id":"56475aa75463474c",'
        '"signature":"97b44e34042ea3f243aa156c6f0d7fb2b0d17a60647740d34cdbcea7e9c950a9dd579c4ba80c3c606c4950eed5800b7595447329449d6d0071d4386083377106"}'
    )


@pytest.mark.parametrize(
    "other",
    [
        (replace(STORED, originator_version=4), 258),
        (replace(STORED, originator_id=UUID(int=STREAM.int + 1)), 258),
        (replace(STORED, topic="batch.cancelled{", state=b'"v":1}'), 258),
        (replace(STORED, state=b'{"v":1} '), 258),
        (STORED, 259),
        # what SQLite would take as well
        (replace(STORED, originator_id="no id at all"), 258),
        (replace(STORED, originator_version=cast(int, "3")), 258),
        (replace(STORED, originator_version=2**63 - 1), 258),
        (replace(STORED, topic=cast(str, None)), 258),
        (replace(STORED, topic="\ud800"), 258),
        (replace(STORED, state=cast(bytes, '{"v":1}')), 258),
    ],
)
def test_no_two_events_have_the_same_form(other: tuple[StoredEvent, int]) -> None:
    assert canonical(*other) != canonical(STORED, 258)


def test_a_digest_stands_for_all_before_it() -> None:
    events = stored_events(4)
    first, second, *_ = checkpoints_over(events, 5)
    assert (first.number, first.position, first.count, first.previous) == (1, 5, 5, START)
    assert (second.number, second.position, second.count, second.previous) == (2, 10, 5, first.hash)
    digest = Digest(first.digest)
    digest.add(events[5:10])
    assert digest.hex == second.digest
    whole = checkpoints_over([*events[:3], *events[4:5], events[3], *events[5:]], 5)
    assert whole[1].digest != second.digest


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    [first, *_] = checkpoints_over(stored_events(2), 5)
    assert Checkpoint.parse(first.line) == first


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"number":1}',
        b" %(line)b",
        b"%(line)b ",
    ],
)
def test_anything_else_is_no_checkpoint(line: bytes) -> None:
    [first, *_] = checkpoints_over(stored_events(2), 5)
    with pytest.raises(ValueError, match="no checkpoint"):
        Checkpoint.parse(line.replace(b"%(line)b", first.line))


@pytest.mark.parametrize(
    "changes", [{"digest": "x" * 64}, {"digest": f" {START[1:]}"}, {"number": True}, {"previous": ""}, {"count": "5"}]
)
def test_fields_of_another_kind_are_no_checkpoint(changes: dict[str, object]) -> None:
    [first, *_] = checkpoints_over(stored_events(2), 5)
    with pytest.raises(ValueError, match="no checkpoint"):
        Checkpoint.parse(replace(first, **changes).line)  # type: ignore[arg-type]


def test_every_field_is_signed() -> None:
    [first, *_] = checkpoints_over(stored_events(2), 5)
    assert first.signed_by(KEY.public)
    for changed in (
        replace(first, number=2),
        replace(first, position=6),
        replace(first, count=4),
        replace(first, digest=START),
        replace(first, previous="1" * 64),
        replace(first, at="2026-01-01T12:00:00.001Z"),
        replace(first, key_id="0" * 16),
        replace(first, signature="no digits"),
        replace(first, signature=""),
        replace(first, signature=first.signature.upper()),
    ):
        assert not changed.signed_by(KEY.public)


def test_another_key_signs_nothing_of_ours() -> None:
    events = stored_events(2)
    forged = sealed(None, events[:5], SigningKey.new(), AT)
    assert not replace(forged, key_id=KEY.public.id).signed_by(KEY.public)
