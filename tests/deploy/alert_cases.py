"""For each alert, what makes it fire and what, just short of that, does not: series in promtool's notation.

A minute lies between two samples: `0+6` grows by 6 a minute, `7+0` stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Series = Mapping[str, str]  # of one moment in the life of the service: series to its samples

JOB = "application-manager-service"


@dataclass(frozen=True, slots=True)
class Case:
    fires: Sequence[Series]
    quiet: Sequence[Series]
    window: int = 5  # minutes that the expression looks back


def series(name: str, samples: str, **labels: str) -> Series:
    told = ", ".join(f'{label}="{value}"' for label, value in {"job": JOB, **labels}.items())
    return {f"{name}{{{told}}}": samples}


def all_of(*told: Series) -> Series:
    return {name: samples for one in told for name, samples in one.items()}


def requests(good: float, bad: float = 0, code: str = "500", endpoint: str = "/applications") -> Series:
    return all_of(
        series("http_requests_total", f"0+{good}", endpoint=endpoint, status_code="200"),
        series("http_requests_total", f"0+{bad}", endpoint=endpoint, status_code=code),
    )


def histogram(name: str, counts: Mapping[str, float], **labels: str) -> Series:
    """Observations up to each bound, a minute."""
    buckets = [series(f"{name}_bucket", f"0+{count}", le=bound, **labels) for bound, count in counts.items()]
    return all_of(*buckets, series(f"{name}_count", f"0+{counts['+Inf']}", **labels))


def latency(endpoint: str = "/applications", **counts: float) -> Series:
    """Of 100 requests, how many took up to so many milliseconds."""
    bounds = {str(int(bound[1:]) / 1000): count for bound, count in counts.items()}
    return histogram("http_request_duration_seconds", {**bounds, "+Inf": 100}, endpoint=endpoint)


def processed(success: float, failed: float) -> Series:
    return all_of(
        series("applications_processed_total", f"0+{success}", status="success"),
        series("applications_processed_total", f"0+{failed}", status="failed"),
    )


def consumed(success: float, failed: float) -> Series:
    return all_of(
        series("queue_messages_consumed_total", f"0+{success}", status="success"),
        series("queue_messages_consumed_total", f"0+{failed}", status="failed"),
    )


def dead_letters(each_minute: float) -> Series:
    """As relay and API tell them: twice the same."""
    told = [
        series("dlq_messages_total", f"0+{each_minute}", instance=name, error_type="E") for name in ("api", "relay")
    ]
    return all_of(*told)


def turns(**roles: str) -> Series:
    found = {"worker": "0+60", "relay": "0+60", "projector": "0+60", **roles}
    return all_of(
        *(series("role_last_turn_timestamp_seconds", told, role=role) for role, told in found.items() if told)
    )


def commands(success: float, error: float) -> Series:
    return all_of(
        series("db_operations_total", f"0+{success}", status="success"),
        series("db_operations_total", f"0+{error}", status="error"),
    )


PROBES = requests(0, 1000, code="503", endpoint="/health/ready")
SLOW_PROBES = latency("/health", m500=0, m1000=0, m2500=0, m5000=50)
WAITING = histogram("db_operation_duration_seconds", {"0.5": 0, "1.0": 0, "+Inf": 1000}, operation="getMore")


def gauge(name: str, fires: float, quiet: float, **labels: str) -> Case:
    return Case([series(name, f"{fires}+0", **labels)], [series(name, f"{quiet}+0", **labels)])


CASES = {
    "ServiceDown": gauge("up", 0, 1, instance="api:8009"),
    "HighErrorRate": Case([requests(940, 60)], [all_of(requests(960, 40), PROBES)]),
    "HighErrorRateWarning": Case([requests(980, 20)], [all_of(requests(991, 9), PROBES)]),
    "HighLatencyP95": Case([latency(m500=94, m750=100)], [all_of(latency(m500=96, m750=100), SLOW_PROBES)]),
    "HighLatencyP99": Case(
        [latency(m1000=98, m2500=98, m5000=100)], [all_of(latency(m1000=98, m2500=100), SLOW_PROBES)]
    ),
    "SlowEndpoint": Case(
        [all_of(latency("/a", m1000=100), latency("/b", m1000=94, m2500=100))],
        [all_of(latency("/a", m1000=100), latency("/b", m1000=96, m2500=100))],
    ),
    "HighApplicationFailureRate": Case([processed(89, 11)], [processed(91, 9)], window=15),
    "ApplicationProcessingBacklog": gauge("applications_pending_total", 101, 100),
    "NoApplicationsProcessed": Case(
        [
            series("applications_pending_total", "1+0"),
            all_of(series("applications_pending_total", "1+0"), processed(0, 0)),
        ],
        [
            all_of(series("applications_pending_total", "1+0"), processed(0, 1)),
            all_of(series("applications_pending_total", "0+0"), processed(0, 0)),
        ],
        window=30,
    ),
    "QueueProcessingBacklog": Case([consumed(94, 6)], [consumed(96, 4)], window=15),
    "WorkerNotActive": Case(
        [
            series("worker_active", "0+0", worker_name="application_worker"),
            all_of(series("worker_active", "0+0", instance="a"), series("worker_active", "1+0", instance="b")),
            {},
        ],
        [series("worker_active", "1+0", worker_name="application_worker")],
    ),
    "HighDLQMessages": Case(
        [series("queue_depth", "51+0", queue_name="application_dlq")],
        [
            all_of(
                series("queue_depth", "50+0", queue_name="application_dlq"),
                series("queue_depth", "5000+0", queue_name="application_processing_queue"),
            )
        ],
    ),
    "DLQMessagesIncreasing": Case([dead_letters(0.2)], [dead_letters(0.15)], window=60),
    "DLQGrowing": Case([dead_letters(6.5)], [dead_letters(5.5)], window=15),
    "QueuePublishFailures": Case(
        [series("queue_publish_failures_total", "0+1", queue_name="application_dlq")],
        [series("queue_publish_failures_total", "7+0", queue_name="application_dlq")],
    ),
    "OutboxStuck": gauge("outbox_oldest_seconds", 61, 60),
    "ProjectionLagging": gauge("projection_lag_seconds", 31, 30, projection="status"),
    "RoleStuck": Case(
        [turns(worker="0+0"), turns(relay="0+0"), turns(projector="0+0"), turns(worker=""), turns(projector=""), {}],
        [turns(), turns(worker="0+59.9")],
    ),
    "StreamsParked": gauge("parked_streams", 1, 0, projection="applied"),
    "AuditNotSealed": gauge("audit_unsealed_seconds", 301, 300),
    "HighRateLimitViolations": Case([requests(0, 630, code="429")], [requests(9000, 570, code="429")]),
    "HighRateLimitExceeded": Case(
        [series("rate_limit_exceeded_total", "0+21", endpoint="/applied")],
        [series("rate_limit_exceeded_total", "0+19", endpoint="/applied")],
    ),
    "DatabaseUnhealthy": Case([commands(89, 11)], [commands(91, 9)]),
    "MongoDBConnectionPoolExhausted": gauge("mongodb_connection_pool_available", 4, 5, instance="api:8009"),
    "MongoDBHighLatency": Case(
        [histogram("db_operation_duration_seconds", {"0.5": 94, "1.0": 100, "+Inf": 100}, operation="find")],
        [
            all_of(
                histogram("db_operation_duration_seconds", {"0.5": 96, "1.0": 100, "+Inf": 100}, operation="find"),
                WAITING,
            )
        ],
    ),
    "HighMemoryUsage": gauge("process_resident_memory_bytes", 536_870_913, 536_870_912, instance="api:8009"),
    "HighCPUUsage": Case(
        [series("process_cpu_seconds_total", "0+49", instance="a")],
        [all_of(*(series("process_cpu_seconds_total", "0+47", instance=name) for name in "ab"))],
    ),
    "SLOErrorBudgetBurnRateCritical": Case([requests(985, 15)], [all_of(requests(986, 14), PROBES)], window=60),
    "SLOErrorBudgetBurnRateHigh": Case([requests(9939, 61)], [all_of(requests(9941, 59), PROBES)], window=360),
    "SLOLatencyBudgetBurnRateCritical": Case(
        [all_of(latency(m500=27), latency("/health", m500=100))],
        [all_of(latency(m500=29), SLOW_PROBES)],
        window=60,
    ),
}
