"""The table of errors against the published one (contract http.md 1.7)."""

from collections.abc import Iterator

import pytest

from api.errors import KINDS, ErrorKind, RequestError, ValidationFailed, error_response, kind_of
from domain.errors import DomainError, OutcomeUnknown, StoreError, StoreUnavailable
from infra.clock import SystemClock
from tests.published import table

# Published, and sent by nothing that is built yet, or by nothing at all.
NOT_SENT = {
    ("ERR_1003", "UnauthorizedError", 401),  # reserved
    ("ERR_1004", "ForbiddenError", 403),  # reserved
    ("ERR_1009", "UpgradeRequiredError", 426),  # WebSockets
    ("ERR_2004", "JobApplicationError", 400),  # every refusal has a code of its own
    ("ERR_4001", "ResumeNotFoundError", 404),  # seen as a reason only
    ("ERR_6003", "QueuePublishError", 500),  # the log is what publishes
}
ALSO = {("ERR_1001", "ValidationError", 400)}  # told in the row's text


def published() -> set[tuple[str, str, int]]:
    return {
        (row["Code"], row["`error`"], int(status))
        for row in table("http.md", "1.7 Errors", 2)
        for status in row["HTTP"].split(" / ")
    }


def ours() -> set[tuple[str, str, int]]:
    return {(kind.code, kind.error, kind.status) for kind in KINDS.values()}


def descendants(cls: type[DomainError]) -> Iterator[type[DomainError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from descendants(child)


def test_what_can_be_sent_is_published() -> None:
    assert ours() - ALSO <= published()


def test_what_is_published_can_be_sent() -> None:
    assert published() - ours() == NOT_SENT


def test_every_error_of_the_domain_is_in_the_table() -> None:
    named = {cls for cls in descendants(DomainError) if cls.__module__ in {"domain.errors", "api.errors"}}
    assert named == set(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.status == 503], ids=lambda kind: kind.error)
def test_every_503_says_when_to_come_again(kind: ErrorKind) -> None:
    [row] = [row for row in table("http.md", "1.7 Errors", 2) if row["Code"] == kind.code]
    seconds = kind.headers["Retry-After"]
    assert f"`Retry-After: {seconds}`" in row["When"] or ("`Retry-After`" in row["When"] and int(seconds) >= 1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.status == 401], ids=lambda kind: kind.error)
def test_every_401_names_the_scheme(kind: ErrorKind) -> None:
    assert kind.headers["WWW-Authenticate"] == "Bearer"


def test_above_499_the_text_is_fixed() -> None:
    assert all(kind.message for kind in KINDS.values() if kind.status >= 500)
    response = error_response(StoreUnavailable("mongodb://secret-host"), "c", SystemClock().now())
    assert response.body is not None
    assert b"secret-host" not in bytes(response.body)  # type: ignore[arg-type]


def test_an_error_without_a_row_is_told_as_the_nearest_above_it() -> None:
    class Surprise(StoreError):
        pass

    assert kind_of(Surprise()).code == "ERR_5001"
    assert kind_of(KeyError("x")).code == "ERR_1000"
    assert kind_of(OutcomeUnknown()).code == "ERR_5003"


def test_a_text_that_no_utf_8_can_hold_is_told_all_the_same() -> None:
    response = error_response(ValidationFailed("odd \ud800"), "c", SystemClock().now())
    assert response.status == 422


def test_the_headers_of_an_error_are_told() -> None:
    response = error_response(RequestError("x", headers={"Allow": "GET"}), "c", SystemClock().now())
    assert response.headers["Allow"] == "GET"
