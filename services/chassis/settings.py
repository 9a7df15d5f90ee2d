"""Settings: typed, frozen, read once from the environment."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails, PydanticKnownError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.log import Format, Level
from services.chassis.pem import check_certificates, check_key

HIGHEST_PORT = 65535


def _is_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not (re.fullmatch(r"[\w.\-]+", host) and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= HIGHEST_PORT):
        raise ValueError(f"must be host:port with a port from 0 to {HIGHEST_PORT}")
    return text


def _are_replicas(text: str) -> str:
    addresses = text.split(",")
    if len(addresses) > 1 and not all(re.fullmatch(r"[0-9.]+:[0-9]+", address) for address in addresses):
        raise ValueError("several replicas must be address:port each, separated by commas")
    return _are_addresses(text)


def _are_addresses(text: str) -> str:
    for address in text.split(","):
        _is_address(address)
    return text


Address = Annotated[str, AfterValidator(_is_address)]
"""`host:port`. To listen on, port 0 takes a free one."""

Replicas = Annotated[str, AfterValidator(_are_replicas)]
"""Where the replicas of a service are: `host:port`, for all addresses that the host has, or several
`address:port`, separated by commas.
"""

Bootstrap = Annotated[str, AfterValidator(_are_addresses)]
"""`host:port` of brokers of Kafka, separated by commas."""

Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A time that ends, in the unit that the setting's name says."""

TLS_FIELDS = ("tls_certificate", "tls_key", "tls_authority")
NO_FILE = Path()


def _is_named(file: Path) -> Path:
    if file == NO_FILE:
        raise PydanticKnownError("missing")
    return file


def _has_certificates(file: Path) -> Path:
    check_certificates(file)
    return file


def _has_key(file: Path, info: ValidationInfo) -> Path:
    check_key(file, info.data.get("tls_certificate"))
    return file


CertificateFile = Annotated[Path, AfterValidator(_is_named), AfterValidator(_has_certificates)]
"""Certificates in PEM."""

KeyFile = Annotated[Path, AfterValidator(_is_named), AfterValidator(_has_key)]
"""The key of `tls_certificate` in PEM."""


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
    log_calls: float = Field(default=1, ge=0, le=1)
    """The part of the successful calls that get a line in the log. The others always do."""
    access_keys: Path | None = None
    """A JSON Web Key Set: the public keys of who signs tokens. With it access is on, without it off."""
    access_issuer: str = Field(default="marketplace", min_length=1)
    """The `iss` of the tokens."""
    access_audience: str = Field(default="marketplace", min_length=1)
    """The `aud` of the tokens."""
    tls_certificate: CertificateFile | None = None
    """Its certificate, and those between that one and the authority. With it gRPC is mTLS only, without it plain."""
    tls_key: KeyFile | None = None
    """The key of its certificate."""
    tls_authority: CertificateFile | None = None
    """Who has signed the certificates of all services."""

    @model_validator(mode="before")
    @classmethod
    def _one_file_of_tls_requires_the_others(cls, values: dict[str, Any]) -> dict[str, Any]:
        if any(values.get(field) is not None for field in TLS_FIELDS):
            return dict.fromkeys(TLS_FIELDS, NO_FILE) | values
        return values


def _is_of_postgres(url: SecretStr) -> SecretStr:
    if not is_url(url.get_secret_value(), "postgresql", "postgres"):
        raise ValueError("must be postgresql://user:password@host:port/database")
    return url


def is_url(text: str, *schemes: str) -> bool:
    """Whether it is a URL with one of these schemes."""
    try:
        return urlsplit(text).scheme in schemes
    except ValueError:  # whose text would show a part of the URL
        return False


DatabaseUrl = Annotated[SecretStr, AfterValidator(_is_of_postgres)]
"""Where a database is, and as whom to enter it."""


def _needed_by_postgres(url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if url is None and info.data.get("storage") == "postgres":
        raise PydanticKnownError("missing")
    return url


class DatabaseSettings(ServiceSettings):
    """What a service can be told that can keep its data in PostgreSQL."""

    storage: Literal["memory", "postgres"] = "memory"
    """Where its data live."""
    database_url: Annotated[DatabaseUrl | None, AfterValidator(_needed_by_postgres)] = Field(
        default=None, validate_default=True
    )
    """Where it works in its database."""
    database_direct_url: Annotated[DatabaseUrl | None, AfterValidator(_needed_by_postgres)] = Field(
        default=None, validate_default=True
    )
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

    database_read_url: DatabaseUrl | None = None
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
    secret = "SecretStr" in repr(settings.model_fields[field].annotation) or "PRIVATE KEY" in str(mistake["input"])
    shown = "…" if secret else f"{mistake['input']!r}"
    return f"{settings.variable(field)}={shown}: {mistake['msg'].removeprefix('Value error, ')}"


def fail(error: Exception) -> int:
    """Tells the user why there is no start, and gives the exit code."""
    sys.stderr.write(f"cannot start:\n{error}\n" if "\n" in str(error) else f"cannot start: {error}\n")
    return 2
