"""What is declared against the published index of endpoints (contract http.md 0)."""

import re

from api.app import OPERATIONS
from api.operations import Bucket, Operation
from tests.published import codes, table

Row = tuple[str, str, str, str]  # method, path, who may call, bucket

BUCKETS = {
    "none": Bucket.NONE,
    "R": Bucket.REQUESTS,
    "R + A": Bucket.APPLICATIONS,
    "R + A per item": Bucket.APPLICATIONS,
}


def published() -> dict[str, tuple[bool, Bucket]]:
    rows = {}
    for row in table("http.md", "0. Endpoint index"):
        method, *_ = row["Method and path"].split()
        is_websocket = method == "WebSocket"  # a GET that is accepted whoever calls; it looks at the token itself
        for path in codes(row["Method and path"]):
            named = f"{'GET' if is_websocket else method} {path}"
            rows[named] = (row["Auth"] == "none" or is_websocket, BUCKETS[row["Bucket"]])
    return rows


def named(operation: Operation) -> str:
    return f"{operation.method} {re.sub('{application_id}', '{id}', operation.path)}"


def test_what_is_declared_is_published_with_its_token_and_its_bucket() -> None:
    told = published()
    for operation in OPERATIONS:
        assert told[named(operation)] == (operation.public, operation.bucket), named(operation)


def test_what_is_published_is_declared() -> None:
    assert set(published()) == set(map(named, OPERATIONS))


def test_every_operation_tells_what_it_does() -> None:
    assert all(operation.handler.__doc__ for operation in OPERATIONS)
    assert len({(operation.method, operation.endpoint) for operation in OPERATIONS}) == len(OPERATIONS)
