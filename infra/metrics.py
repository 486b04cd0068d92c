"""Every metric of the service, declared once: name, meaning, labels, and the roles that move and serve it.

The published table is contract metrics.md 1; a test holds the two together. Move one by its labels' names:
`HTTP_REQUESTS_TOTAL.inc(method="GET", endpoint="/applied", status_code=200)`. No label ever holds a user's id.
"""

from importlib.metadata import version

from infra import process_metrics
from infra.metric_kinds import EVERY_ROLE, Counter, Gauge, Histogram, Role, render

API, WORKER, RELAY, PROJECTOR = (Role.API,), (Role.WORKER,), (Role.RELAY,), (Role.PROJECTOR,)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
APPLICATION_WORKER = "application_worker"  # value of the label worker_name

# -- HTTP -------------------------------------------------------------------------------------------------------------

HTTP_REQUEST_DURATION_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Seconds until the last byte was handed over; of streams and exports, until the first",
    ("method", "endpoint", "status_code"),
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    roles=API,
)
HTTP_REQUESTS_TOTAL = Counter(
    "http_requests_total", "Requests, refused ones too", ("method", "endpoint", "status_code"), roles=API
)
HTTP_REQUESTS_IN_PROGRESS = Gauge(
    "http_requests_in_progress", "Requests that are being answered", ("method", "endpoint"), roles=API
)
RATE_LIMIT_EXCEEDED_TOTAL = Counter(
    "rate_limit_exceeded_total", "Requests refused for too many", ("endpoint", "user_type"), roles=API
)
IDEMPOTENCY_REPLAYS_TOTAL = Counter(
    "idempotency_replays_total", "Answers given again for the same key", ("endpoint",), roles=API
)
WEBSOCKET_CONNECTIONS = Gauge("websocket_connections", "Open WebSockets", roles=API)

# -- applications -----------------------------------------------------------------------------------------------------

APPLICATIONS_SUBMITTED_TOTAL = Counter(
    "applications_submitted_total", "Applications stored, items of batches too", ("user_type",), roles=API
)
APPLICATIONS_PROCESSED_TOTAL = Counter(
    "applications_processed_total", "Applications that reached an end", ("status",), roles=API + WORKER
)
APPLICATIONS_BY_STATUS = Gauge("applications_by_status", "Applications now in each status", ("status",), roles=API)
APPLICATIONS_PENDING_TOTAL = Gauge("applications_pending_total", "Applications now pending", roles=API)
APPLICATION_PROCESSING_DURATION_SECONDS = Histogram(
    "application_processing_duration_seconds",
    "Seconds from the first pick-up to the end",
    ("status",),
    buckets=(1, 5, 10, 30, 60, 120, 300, 600),
    roles=WORKER,
)
APPLICATION_JOBS_COUNT = Histogram(
    "application_jobs_count", "Jobs of a submission", buckets=(1, 2, 5, 10, 20, 50, 100), roles=API
)

# -- queues and worker ------------------------------------------------------------------------------------------------

QUEUE_MESSAGES_PUBLISHED_TOTAL = Counter(
    "queue_messages_published_total", "Publishes that the broker confirmed", ("queue_name",), roles=RELAY + API
)
QUEUE_PUBLISH_FAILURES_TOTAL = Counter(
    "queue_publish_failures_total", "Publishes refused or not confirmed", ("queue_name",), roles=RELAY + API
)
QUEUE_MESSAGES_CONSUMED_TOTAL = Counter(
    "queue_messages_consumed_total", "Messages that reached their final outcome", ("queue_name", "status"), roles=WORKER
)
QUEUE_MESSAGE_PROCESSING_DURATION_SECONDS = Histogram(
    "queue_message_processing_duration_seconds",
    "Seconds of an attempt",
    ("queue_name",),
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60),
    roles=WORKER,
)
QUEUE_DEPTH = Gauge("queue_depth", "Messages ready in a queue", ("queue_name",), roles=RELAY + API)
DLQ_MESSAGES_TOTAL = Counter(
    "dlq_messages_total", "Messages sent to the dead letters", ("original_queue", "error_type"), roles=RELAY + API
)
WORKER_ACTIVE = Gauge("worker_active", "1 while the worker consumes", ("worker_name",), roles=WORKER)
WORKER_RETRY_TOTAL = Counter("worker_retry_total", "Automatic retries", ("worker_name", "attempt"), roles=WORKER)
OUTBOX_PENDING = Gauge("outbox_pending", "Messages not yet confirmed", roles=RELAY)
OUTBOX_OLDEST_SECONDS = Gauge("outbox_oldest_seconds", "Age in seconds of the oldest of them", roles=RELAY)
AUDIT_UNSEALED_SECONDS = Gauge(
    "audit_unsealed_seconds", "Seconds since the relay found the oldest event that no checkpoint covers", roles=RELAY
)
PROJECTION_LAG_SECONDS = Gauge(
    "projection_lag_seconds", "Age in seconds of the oldest event not in the read model", ("projection",), roles=API
)
PROJECTION_LAG_EVENTS = Gauge("projection_lag_events", "Events not in the read model", ("projection",), roles=API)
ROLE_LAST_TURN_TIMESTAMP_SECONDS = Gauge(
    "role_last_turn_timestamp_seconds",
    "Unix time of the last turn of the role's loop",
    ("role",),
    roles=WORKER + RELAY + PROJECTOR,
)
PARKED_STREAMS = Gauge("parked_streams", "Streams that wait for an operator", ("projection",), roles=PROJECTOR)
RATE_LIMIT_STORE_ERRORS_TOTAL = Counter(
    "rate_limit_store_errors_total", "Requests let through because the limits' store was away", roles=API
)

# -- database and process ---------------------------------------------------------------------------------------------

DB_OPERATION_DURATION_SECONDS = Histogram(
    "db_operation_duration_seconds",
    "Seconds of a MongoDB command",
    ("operation", "collection"),
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
    roles=EVERY_ROLE,
)
DB_OPERATIONS_TOTAL = Counter(
    "db_operations_total", "MongoDB commands", ("operation", "collection", "status"), roles=EVERY_ROLE
)
MONGODB_CONNECTION_POOL_AVAILABLE = Gauge(
    "mongodb_connection_pool_available", "Connections that may still be taken into use", roles=EVERY_ROLE
)
APPLICATION_MANAGER_SERVICE_INFO = Gauge(
    "application_manager_service_info",
    "Always 1; what runs here",
    ("version", "service_name", "environment"),
    roles=EVERY_ROLE,
)


def package_version() -> str:
    return version("application-manager-service")


def describe_service(service_name: str, environment: str) -> None:
    """What runs in this process, told once at its start."""
    APPLICATION_MANAGER_SERVICE_INFO.set(
        1, version=package_version(), service_name=service_name, environment=environment
    )


def exposition(role: Role) -> bytes:
    """All that a role serves at `/metrics`. Reads /proc: not on the event loop, but in a thread."""
    process_metrics.refresh()
    return render(role)
