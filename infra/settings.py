"""The settings of every process: one frozen model, in the order of the published table (contract config.md).

`load_settings` is called once at a role's start and takes each variable from the first place that has it: the
environment, `.env` in the working folder, `.data/services.env` (written by `app-manager up`, cli.md 5), the default.
A variable that is there but empty means its default; only an empty `PORTAL_DEFAULT` means: none.
`Settings(...)` alone reads no file; what it is given goes before the environment.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from infra.setting_types import (
    AmqpUrl,
    Count,
    EventStoreUrl,
    Flag,
    HttpUrl,
    IssuerUrl,
    Lower,
    MongoUri,
    Networks,
    Origins,
    Port,
    Portals,
    PortOrOff,
    QueueName,
    Rate,
    RateLimit,
    Seconds,
    SecondsOrZero,
    Upper,
    leaves_in_the_clear,
)

DEFAULT_SECRET_KEY = "your-secret-key-here"  # noqa: S105  published, and refused in production
SECRET_KEY_BYTES = 32
PUBLISHED_PASSWORD = "guest"  # noqa: S105  RabbitMQ's own
SANDBOX = "sandbox"  # the portal that is known without an entry
ENV_FILE, SERVICES_FILE = Path(".env"), Path(".data/services.env")


class SettingsError(Exception):
    """A setting cannot be used. One line for the user, without secrets."""


def _portal_default(known: Mapping[str, Any]) -> str | None:
    return None if _is_production(known.get("environment", "")) else SANDBOX


def _sandbox_portal_url(known: Mapping[str, Any]) -> str:
    return f"http://127.0.0.1:{known.get('sandbox_portal_port', 8019)}"


def _is_production(environment: str) -> bool:
    return environment.lower() == "production"


class Settings(BaseSettings):
    """Every setting of the service. The variable's name is the field's in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    # -- service ------------------------------------------------------------------------------------------------------

    service_name: str = Field("application_manager_service", description="Name in logs, metrics and traces")
    environment: str = Field("development", description="Label of logs and metrics; production is strict")
    debug: Flag = Field(False, description="Logs everything from DEBUG on")
    host: str = Field("127.0.0.1", description="Listen address")
    port: Port = Field(8009, description="Listen port of the API")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Upper] = Field(
        "INFO", description="Least level that is logged"
    )
    json_logs: Flag = Field(True, description="One JSON object a line; else readable text")
    shutdown_grace_seconds: SecondsOrZero = Field(30, description="Seconds for running work after SIGTERM")
    health_check_timeout_seconds: Seconds = Field(2, description="Seconds for the check of one dependency")
    trusted_proxies: Networks = Field((), description="Networks whose X-Forwarded-For is believed")
    cors_allowed_origins: Origins = Field((), description="Origins that get CORS headers; none: no headers")

    # -- event store --------------------------------------------------------------------------------------------------

    event_store: EventStoreUrl = Field("sqlite:///.data/events.db", repr=False, description="Where the log is")
    event_store_pool_size: Count = Field(8, description="PostgreSQL connections of a process")
    append_batch_max: Count = Field(256, description="Events that may share one commit")
    projection_batch_max: Count = Field(1000, description="Events folded into one transaction of a read model")
    read_wait_seconds: SecondsOrZero = Field(2, description="Seconds that a read waits for its position")

    # -- MongoDB ------------------------------------------------------------------------------------------------------

    mongodb: MongoUri = Field("mongodb://localhost:27017", repr=False, description="Replica set or sharded cluster")
    mongodb_database: str = Field("resumes", description="Database of the read models and CVs")
    mongo_max_pool_size: Count = Field(100, description="Connections of a process at most")
    mongo_min_pool_size: Annotated[int, Field(ge=0)] = Field(10, description="Connections kept open")
    mongo_max_idle_time_ms: Count = Field(30_000, description="Milliseconds until an idle connection is closed")
    mongo_connect_timeout_ms: Count = Field(5_000, description="Milliseconds for a new connection")
    mongo_server_selection_timeout_ms: Count = Field(5_000, description="Milliseconds for a server that can answer")
    mongo_socket_timeout_ms: Count = Field(30_000, description="Milliseconds for one answer")

    # -- RabbitMQ and processing --------------------------------------------------------------------------------------

    queue_type: Annotated[Literal["classic", "quorum", ""], Lower] = Field(
        "", description="Kind of queues to declare; empty: as they are, else the broker's default"
    )
    rabbitmq_url: AmqpUrl = Field("amqp://guest:guest@localhost:5672/", repr=False, description="The broker")
    middleware_queue: QueueName = Field("middleware_notification_queue", description="Queue of notifications")
    application_processing_queue: QueueName = Field("application_processing_queue", description="Queue of work")
    application_dlq: QueueName = Field("application_dlq", description="Queue of dead letters")
    async_processing_enabled: Flag = Field(True, description="Off: nothing is queued")
    max_retries: Annotated[int, Field(ge=0)] = Field(5, description="Retries after the first attempt")
    retry_base_delay: SecondsOrZero = Field(1.0, description="Seconds until the first retry")
    retry_max_delay: SecondsOrZero = Field(16.0, description="Seconds of the longest delay")
    worker_prefetch: Annotated[int, Field(ge=1, le=65535)] = Field(
        64, description="Messages that a worker holds unacknowledged"
    )
    stuck_after_seconds: Seconds = Field(120, description="Seconds without a move until the reconciler looks")
    claim_seconds: Seconds = Field(5, description="Seconds until a claim that is not renewed may be taken over")
    worker_metrics_port: PortOrOff = Field(9109, description="Port of the worker's own server; 0 = off")
    relay_metrics_port: PortOrOff = Field(9110, description="Port of the relay's own server; 0 = off")
    projector_metrics_port: PortOrOff = Field(9111, description="Port of the projector's own server; 0 = off")

    # -- portals and documents ----------------------------------------------------------------------------------------

    portals: Portals = Field({}, repr=False, description="Portal name to its adapter's entry")
    portal_default: str | None = Field(
        default_factory=_portal_default, description="Portal of jobs whose own is not listed; none: they fail"
    )
    document_writer: str = Field("template", description="Writer of documents, a name in the entry point group")
    sandbox_portal_host: str = Field("127.0.0.1", description="Listen address of the sandbox portal")
    sandbox_portal_port: Port = Field(8019, description="Listen port of the sandbox portal")
    sandbox_portal_url: HttpUrl = Field(
        default_factory=_sandbox_portal_url, repr=False, description="Where the worker finds the sandbox portal"
    )
    portal_timeout_seconds: Seconds = Field(30, description="Seconds of one attempt where the portal names none")

    # -- authentication -----------------------------------------------------------------------------------------------

    secret_key: SecretStr = Field(SecretStr(DEFAULT_SECRET_KEY), description="Key of the tokens")
    algorithm: Annotated[Literal["HS256", "HS384", "HS512"], Upper] = Field(
        "HS256", description="The only signature that is accepted"
    )
    access_token_expire_minutes: Count = Field(30, description="Minutes that a token made by the command lives")
    oidc_issuer: IssuerUrl | None = Field(None, description="Issuer whose published keys check tokens instead")
    oidc_audience: str | None = Field(None, description="Audience that tokens of the issuer must name")
    oidc_user_claim: str = Field("sub", description="Claim with the user, for tokens without an id")
    audit_signing_key: Path = Field(
        Path(".data/audit-signing-key.pem"), description="Ed25519 key of checkpoints; made on first use"
    )
    audit_checkpoint_dir: Path = Field(Path(".data/audit"), description="Folder of the signed checkpoints")
    admin_role_claim: str = Field("admin_role", description="Claim with the admin role")
    queue_admin_required: Flag = Field(True, description="Purge and reprocess need the admin claim")
    metrics_auth_required: Flag = Field(False, description="/metrics needs a token")

    # -- limits -------------------------------------------------------------------------------------------------------

    rate_limit_enabled: Flag = Field(True, description="Off: no limits and no headers")
    rate_limit_requests: RateLimit = Field(Rate(1000, 3600), description="Requests of a user, N/period")
    rate_limit_applications: RateLimit = Field(Rate(100, 3600), description="Applications of a user, N/period")
    idempotency_ttl_seconds: Count = Field(86_400, description="Seconds that an idempotency key lives")
    max_body_bytes: Count = Field(32 * 1024 * 1024, description="Bytes of a whole request")
    max_cv_bytes: Annotated[int, Field(ge=1, le=15 * 1024 * 1024)] = Field(
        10 * 1024 * 1024, description="Bytes of a CV; 15 MiB at most, as one MongoDB document holds it"
    )
    max_jobs_per_application: Count = Field(500, description="Jobs of one application")
    export_excel_max_rows: Annotated[int, Field(ge=1, le=1_048_575)] = Field(
        100_000, description="Rows of an Excel export; a sheet holds 1,048,575 below its heading"
    )
    ws_ping_interval_seconds: Seconds = Field(30, description="Seconds of silence before a ping")
    ws_max_connections_per_user: Count = Field(20, description="WebSockets of a user on one process")

    # -- tracing ------------------------------------------------------------------------------------------------------

    tracing_enabled: Flag = Field(False, description="Traces are made and sent")
    tracing_exporter: Annotated[Literal["console", "jaeger", "otlp"], Lower] = Field(
        "console", description="Where traces go"
    )
    jaeger_host: str = Field("localhost", description="Host of Jaeger")
    jaeger_port: Port = Field(6831, description="Port of Jaeger; 6831 and 6832 mean 4317")
    otlp_endpoint: HttpUrl = Field("http://localhost:4317", repr=False, description="Collector, gRPC")
    tracing_sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="Share of traces kept, 0 to 1")

    # -- rules over several -------------------------------------------------------------------------------------------

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  takes names in any case
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not in the contract
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment's names are as written, those of the files in any case."""
        environment = {name.lower(): text for name, text in os.environ.items() if name.isupper()}
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        return init_settings, _Texts(settings_cls, environment), _Texts(settings_cls, dotenv_settings.env_vars)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_the_default(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str) or info.field_name is None:
            return value
        if value.strip():
            return value if info.field_name == "secret_key" else value.strip()
        if info.field_name == "portal_default":
            return None
        return cls.model_fields[info.field_name].get_default(call_default_factory=True, validated_data=info.data)

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        problem = next(self._problems(), None)
        if problem:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        key = self.secret_key.get_secret_value().encode()
        if self.is_production and not self.oidc_issuer and len(key) < SECRET_KEY_BYTES:  # the default is shorter
            yield f"SECRET_KEY must be your own and have {SECRET_KEY_BYTES} bytes at least when ENVIRONMENT=production"
        if self.mongo_min_pool_size > self.mongo_max_pool_size:
            yield "MONGO_MIN_POOL_SIZE must not be above MONGO_MAX_POOL_SIZE"
        if len({self.middleware_queue, self.application_processing_queue, self.application_dlq}) < 3:
            yield "MIDDLEWARE_QUEUE, APPLICATION_PROCESSING_QUEUE and APPLICATION_DLQ must be three queues"
        if self.portal_default and self.portal_default.casefold() not in {SANDBOX, *map(str.casefold, self.portals)}:
            yield "PORTAL_DEFAULT is not listed in PORTALS"
        if self.oidc_issuer and not self.oidc_audience:
            yield "OIDC_ISSUER needs OIDC_AUDIENCE"
        if self.is_production and self.oidc_issuer and leaves_in_the_clear(self.oidc_issuer):
            yield "OIDC_ISSUER must begin with https:// when ENVIRONMENT=production, unless it is on this machine"

    @property
    def is_production(self) -> bool:
        return _is_production(self.environment)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown: the key, and the passwords inside addresses but the published one."""
        urls = (self.event_store, self.mongodb, self.rabbitmq_url, self.sandbox_portal_url, self.otlp_endpoint)
        passwords = [word for url in urls if (word := urlsplit(url).password) and word != PUBLISHED_PASSWORD]
        return tuple(dict.fromkeys([self.secret_key.get_secret_value(), *passwords, *map(unquote, passwords)]))


class _Texts(PydanticBaseSettingsSource):
    """What one place says: texts under the names of fields, which the fields' own types read."""

    def __init__(self, settings_cls: type[BaseSettings], texts: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self.texts = texts

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        return self.texts.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.texts.get(name) for name in self.settings_cls.model_fields}
        return {name: text for name, text in found.items() if text is not None}


def load_settings(*, with_services: bool = True) -> Settings:
    """The settings of this process. `model_fields_set` tells which of them anything but a default gave.

    `with_services=False` leaves out what an earlier `app-manager up` wrote. Raises SettingsError.
    """
    files = (SERVICES_FILE, ENV_FILE) if with_services else (ENV_FILE,)  # the later one wins
    try:
        return Settings(_env_file=files)
    except ValidationError as error:
        raise SettingsError("; ".join(_lines(error))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{' or '.join(map(str, files))} cannot be read: {error}") from None


def _lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        if problem["type"] == "default_factory_not_called":
            continue  # only follows from another
        message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        yield f"{str(problem['loc'][0]).upper()} {message}" if problem["loc"] else message
