"""Beginnings that many tests of the rules share."""

from datetime import timedelta

from domain.application import refused, unknown_outcome
from domain.retry import RetryPolicy
from tests.builders import START, an_application

POLICY = RetryPolicy(max_retries=2, base_delay=1.0, max_delay=16.0)
NOW = START + timedelta(minutes=1)

SUBMITTED = an_application().submitted()
STARTED = SUBMITTED.started()
ATTEMPTED = STARTED.attempted()
TWO = an_application().submitted(jobs=2)
TWO_STARTED = TWO.started()
UNKNOWN_ENDED = TWO_STARTED.attempted(1, 2).unknown(1).applied(2).failed()
REFUSED_ENDED = TWO_STARTED.attempted(1, 2).refused(1).applied(2).failed()

WORKERS_DIED = "every worker that took it up died"
CLOSED = refused("Position closed", "PortalRefusedError")
SILENT = unknown_outcome("no answer", "TimeoutError")
