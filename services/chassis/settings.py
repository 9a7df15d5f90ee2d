"""Settings: typed, frozen, read once from the environment."""

import sys
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.log import Format, Level

Address = Annotated[str, Field(pattern=r"^[\w.\-]+:\d{1,5}$")]
"""`host:port`. Port 0 takes a free one."""


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
    drain_seconds: float = Field(default=10, gt=0)
    """How long running calls may go on after a SIGTERM."""


class StartError(Exception):
    """The service cannot start, for a reason that whoever starts it can mend."""


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings from the environment. Raises StartError with a line for every mistake."""
    try:
        return settings()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        raise StartError("\n".join(_mistake(settings, m["loc"][0], m["input"], m["msg"]) for m in mistakes)) from None


def _mistake(settings: type[Settings], field: str | int, value: object, what: str) -> str:
    secret = settings.model_fields[str(field)].annotation is SecretStr
    shown = "…" if secret else f"{value!r}"
    return f"{settings.variable(str(field))}={shown}: {what}"


def fail(error: StartError) -> int:
    """Tells the user why there is no start, and gives the exit code."""
    sys.stderr.write(f"cannot start:\n{error}\n" if "\n" in str(error) else f"cannot start: {error}\n")
    return 2
