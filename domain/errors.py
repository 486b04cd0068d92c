"""What the service refuses or cannot do, without a word of HTTP: `api/errors.py` gives each its code (http.md 1.7)."""


class DomainError(Exception):
    """A request that cannot be carried out. Its text may be shown to the caller."""


# -- refused by a rule: nothing was changed ---------------------------------------------------------------------------


class ApplicationNotFound(DomainError):
    """Unknown, or another user's: the two look alike."""

    def __init__(self, application_id: str) -> None:
        super().__init__(f"Application not found: {application_id}")


class ApplicationState(DomainError):
    """The status forbids the action."""


class ApplicationAlreadyProcessed(DomainError):
    """It has ended, and this end is final."""


class BatchNotFound(DomainError):
    """Unknown, or another user's."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"Batch not found: {batch_id}")


class JobNotFound(DomainError):
    """The application is there, but not that job."""


class AttemptRefused(DomainError):
    """A later start is in the log, or the job has ended: no portal may be called for this attempt."""


class IdempotencyKeyReused(DomainError):
    """The key was used for another request."""


class DuplicateRequest(DomainError):
    """The same request is being answered at this moment. Nothing was stored for this one."""

    def __init__(self) -> None:
        super().__init__("A request with this idempotency key is being answered")


# -- the caller -------------------------------------------------------------------------------------------------------


class AuthenticationRequired(DomainError):
    """No token, or not in the form `Bearer <jwt>`."""


class InvalidToken(DomainError):
    """The token's signature, algorithm, form or user cannot be accepted."""


class TokenExpired(DomainError):
    """The token's `exp` has passed."""


class IssuerUnavailable(DomainError):
    """What would tell whether the token is good, the keys of its issuer, cannot be had now. Nothing was stored."""


class InsufficientPermissions(DomainError):
    """The caller lacks the admin claim."""


# -- the stores -------------------------------------------------------------------------------------------------------


class StoreError(DomainError):
    """A store did not do what was asked. Says nothing of hosts or queries."""


class StoreFailed(StoreError):
    """The store refused the command. Nothing was stored."""


class StoreUnavailable(StoreError):
    """The store cannot be reached. Nothing was stored."""


class StoreTimeout(StoreError):
    """The store did not answer in time. Nothing was stored."""


class OutcomeUnknown(StoreError):
    """The connection was lost inside a commit and its outcome could not be found out: it may have been stored."""


class Overloaded(DomainError):
    """More work waits than can be accepted now. Nothing was stored."""


class NewerEvent(DomainError):
    """Written by a newer release than this one: a role that follows the log halts, the API turns not ready."""


class ReadModelBehind(DomainError):
    """The read model did not reach the asked position in time."""


# -- appending --------------------------------------------------------------------------------------------------------


class Conflict(DomainError):
    """Another append came first in one of the streams. Load again and decide again."""


class ClaimedElsewhere(DomainError):
    """Another worker holds the claim that this append wanted to take. Nothing was stored."""
