"""Settings: typed, frozen, read once from the environment."""

import sys
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.log import Format, Level

HIGHEST_PORT = 65535


def _ports_exist(addresses: str) -> str:
    if any(int(address.rpartition(":")[2]) > HIGHEST_PORT for address in addresses.split(",")):
        raise ValueError(f"the port is above {HIGHEST_PORT}")
    return addresses


Address = Annotated[str, Field(pattern=r"^[\w.\-]+:\d{1,5}$"), AfterValidator(_ports_exist)]
"""`host:port`. To listen on, port 0 takes a free one."""

Replicas = Annotated[
    str, Field(pattern=r"^([\w.\-]+:\d{1,5}|[\d.]+:\d{1,5}(,[\d.]+:\d{1,5})+)$"), AfterValidator(_ports_exist)
]
"""Where the replicas of a service are: `host:port`, for all addresses that the host has, or several
`address:port`, separated by commas.
"""

Bootstrap = Annotated[str, Field(pattern=r"^[\w.\-]+:\d{1,5}(,[\w.\-]+:\d{1,5})*$")]
"""`host:port` of brokers of Kafka, separated by commas."""

Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A time that ends, in the unit that the setting's name says."""


class Settings(BaseSettings):
    """What a process can be told through its environment."""

    model_config = SettingsConfigDict(frozen=True)

    log_level: Level = "info"
    """Which lines are logged: debug, info, warning or error."""
    log_format: Format = "json"
    """json, or console for people."""

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a setting."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


class ServiceSettings(Settings):
    """What every service can be told. Its own settings class adds the prefix and more."""

    service: ClassVar[str]
    """The name of the service, as it stands in logs."""

    listen: Address
    """Where it serves gRPC."""
    side_listen: Address
    """Where it answers /healthz and /readyz over HTTP, for operators only."""
    notice_seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How long it serves on after a SIGTERM, while it reports NOT_SERVING: callers go to other replicas meanwhile."""
    drain_seconds: Duration = 10
    """How long running calls may go on after a SIGTERM."""


class DatabaseSettings(ServiceSettings):
    """What a service can be told that can keep its data in PostgreSQL."""

    storage: Literal["memory", "postgres"] = "memory"
    """Where its data live."""
    database_url: SecretStr | None = None
    """Where it works in its database."""
    database_direct_url: SecretStr | None = None
    """Where it migrates its database: as its owner, and past every pooler."""
    database_connections: int = Field(default=10, ge=1)
    """How many connections it has to its database, at most."""

    def required_url(self, field: str) -> str:
        """The URL that a setting holds. Raises StartError if it is not set."""
        url: SecretStr | None = getattr(self, field)
        if url is None:
            raise StartError(f"{self.variable(field)} is not set: PostgreSQL needs it")
        return url.get_secret_value()


class ReplicatedSettings(DatabaseSettings):
    """What a service can be told whose reads a replica may answer."""

    database_read_url: SecretStr | None = None
    """Where it reads: a synchronous replica of its database."""


class StartError(Exception):
    """The service cannot start, for a reason that whoever starts it can mend."""


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings from the environment. Raises StartError with a line for every mistake."""
    try:
        return settings()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        raise StartError("\n".join(_mistake(settings, mistake) for mistake in mistakes)) from None


def _mistake(settings: type[Settings], mistake: ErrorDetails) -> str:
    field = str(mistake["loc"][0])
    if mistake["type"] == "missing":
        return f"{settings.variable(field)} is not set"
    secret = "SecretStr" in repr(settings.model_fields[field].annotation)
    shown = "…" if secret else f"{mistake['input']!r}"
    return f"{settings.variable(field)}={shown}: {mistake['msg']}"


def fail(error: StartError) -> int:
    """Tells the user why there is no start, and gives the exit code."""
    sys.stderr.write(f"cannot start:\n{error}\n" if "\n" in str(error) else f"cannot start: {error}\n")
    return 2
