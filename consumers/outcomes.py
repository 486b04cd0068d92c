"""What follows from a portal's outcome (contract portals.md 1): the one place where it is decided."""

from consumers.portals import Applied, NotTaken, Outcome, Refused, Unknown
from domain.application import Unfinished, Verdict, refused, unknown_outcome
from domain.application_events import Delivery
from domain.retry import RetryPolicy

STOPPED = "the worker was stopped"
STOPPED_ERROR = "WorkerStoppedError"
CLAIM_LOST = "the event log did not answer in time"
CLAIM_LOST_ERROR = "ClaimLostError"

Result = Applied | Verdict | Unfinished


def result_of(outcome: Outcome, position: int, delivery: Delivery, policy: RetryPolicy) -> Result:
    """The job's end, or why it has none yet. A portal's `Retry-After` is honoured up to the longest delay."""
    match outcome:
        case Applied():
            return outcome
        case Refused(reason, error_type):
            return refused(reason, error_type)
        case NotTaken(reason, error_type, retry_after):
            return Unfinished(position, reason, error_type, wait=min(retry_after or 0.0, policy.max_delay))
        case Unknown(reason, error_type):
            if delivery is Delivery.AT_MOST_ONCE:
                return unknown_outcome(reason, error_type)
            return Unfinished(position, reason, error_type)


def broken_off(position: int, delivery: Delivery, *, sent: bool) -> Result:
    """A portal call that the worker's stop has cut short. Without keys, what was sent must not be sent again."""
    if sent and delivery is Delivery.AT_MOST_ONCE:
        return unknown_outcome(f"{STOPPED} before the portal answered", STOPPED_ERROR)
    return given_back(position, STOPPED, STOPPED_ERROR)


def given_back(position: int, reason: str, error_type: str, wait: float = 0.0, *, rests: bool = False) -> Unfinished:
    """Nothing was sent, or it may be sent again under its key: this costs no attempt."""
    return Unfinished(position, reason, error_type, counted=False, wait=wait, rests=rests)
