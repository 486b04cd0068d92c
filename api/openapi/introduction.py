"""What the OpenAPI document says before its first operation (contract http.md 1)."""

TITLE = "Application Manager Service"

TAGS = {
    "Applications": "Submit applications, follow them, try them again, take them back",
    "Batches": "Up to 100 applications at once",
    "Entries": "The jobs that were applied and those that failed, with what was written for them",
    "Exports": "All entries as a file",
    "Streams": "What happens, as it happens",
    "Queues": "For operators: how full the queues are, and dead letters",
    "Read models": "For operators: how far each read model is, and what it holds back",
    "Service": "What runs here, and how it is",
}

INTRODUCTION = "\n\n".join(
    [
        "Takes job applications in bulk, hands each job to its portal, and tells what became of it.",
        "**Tokens.** `Authorization: Bearer <jwt>` with the claim `id`, on every call that needs one. You see what you "
        "submitted; somebody else's id answers exactly like an unknown one.",
        "**Answers.** JSON in UTF-8. Success is always 200, every field is always there, and what is empty is null. "
        "Times are in UTC and end with `Z`.",
        "**Errors.** Always one object: `error`, `code`, `message`, `correlation_id`, `timestamp`, `details`. An "
        "unknown path is 404 `ERR_1002`, another method of a known one 405 `ERR_1005` with `Allow`.",
        "**Safe to send again.** A POST with `X-Idempotency-Key` is done once in 24 hours; sent again, it gets the "
        "first one's answer and `X-Idempotency-Replayed: true`.",
        "**Reading what you wrote.** Every write tells its `X-Event-Position`. Send it back on a read, and the read "
        "waits until it shows that write.",
        "**Queries.** An empty parameter counts as not sent, an unknown one is ignored. A date may be `YYYY-MM-DD` or "
        "an ISO 8601 datetime, in UTC unless it says otherwise.",
    ]
)
