"""What compose.yaml says, as the runner and the checks of the project read it.

It understands what that file uses of the Compose Specification: variables with their
values from .env files and the environment, and no more than one replica number, command
list and environment mapping for each service.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.chassis.settings import StartError

FOLDER = Path(__file__).parent
FILE = FOLDER / "compose.yaml"
PORTS = FOLDER / ".env"
SECRETS = FOLDER.parent / ".data" / "stack" / "secrets.env"

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:\?(?P<why>[^}]*))?\}")
SECONDS = re.compile(r"(\d+)s")


def _seconds(text: str) -> float:
    found = SECONDS.fullmatch(text)
    if found is None:
        raise ValueError("must be a number of seconds, as in 10s")
    return float(found[1])


Seconds = Annotated[float, BeforeValidator(_seconds)]
Condition = Literal["service_healthy", "service_completed_successfully"]


class Part(BaseModel):
    """A part of the file. What is not read here may stand there, too."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class Dependency(Part):
    condition: Condition
    """What the other service has to be before this one starts."""


class Deploy(Part):
    replicas: int = 1


class Native(Part):
    """How a service runs without a container."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    command: list[str] | None = None
    """What is run instead of what the container runs."""
    environment: dict[str, str] = Field(default_factory=dict)
    """What it is told besides."""
    needs: list[str] = Field(default_factory=list)
    """Programs that have to be installed, and files of the project."""
    ready: str | None = Field(default=None, pattern=r"^(http|postgresql|redis|kafka)://")
    """Where it is asked whether it is ready: http://, postgresql://, redis:// or kafka://."""
    shows: str | None = None
    """What people may open, and where."""
    absent: str | None = None
    """Why it does not run."""


class Service(Part):
    """A service of the stack."""

    entrypoint: list[str] = Field(default_factory=list)
    command: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)
    """Each `SOURCE:TARGET` or `SOURCE:TARGET:ro`; a source that begins with a dot is a file, another one a volume."""
    tmpfs: list[str] = Field(default_factory=list)
    depends_on: dict[str, Dependency] = Field(default_factory=dict)
    restart: Literal["no", "unless-stopped"] = "no"
    stop_signal: Literal["SIGTERM", "SIGINT"] = "SIGTERM"
    stop_grace_period: Seconds = 10
    deploy: Deploy = Deploy()
    native: Native = Field(alias="x-native")


class Stack(Part):
    """The whole file."""

    services: dict[str, Service]


def stack_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the stack has its data, when it runs without containers."""
    return Path(environment.get("STACK_FOLDER", SECRETS.parent)).absolute()


def read_stack(file: Path = FILE, environment: Mapping[str, str] = os.environ) -> Stack:
    """The stack of a file, with the values of its variables. Raises StartError for a file that says something else."""
    try:
        return Stack.model_validate(filled(parsed(file.read_text()), variables(environment, file)))
    except (OSError, yaml.YAMLError) as error:
        raise StartError(f"{file}: {error}") from None
    except ValidationError as error:
        told = (f"{file}: {'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        raise StartError("\n".join(told)) from None


class _UniqueKeys(yaml.SafeLoader):
    """Refuses what is said twice, where YAML itself would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.MarkedYAMLError(problem=f"{name} is said twice", problem_mark=node.start_mark)
        return node


def parsed(text: str) -> Any:
    """What a text in YAML says. Raises a YAMLError if it says something twice."""
    return yaml.load(text, _UniqueKeys)  # noqa: S506  it is a SafeLoader


def variables(environment: Mapping[str, str], file: Path = FILE) -> dict[str, str]:
    """What variables stand for: ports and secrets from their files, unless the environment says otherwise."""
    return {**read_env(file.with_name(PORTS.name)), **read_env(SECRETS), **environment}


def read_env(file: Path) -> dict[str, str]:
    """The lines `NAME=value` of a file, which need not be there."""
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def filled(part: Any, values: Mapping[str, str]) -> Any:
    """A part of the file with the values of its variables. Raises StartError for one that has none."""
    if isinstance(part, str):
        return VARIABLE.sub(lambda found: _value(found, values), part)
    if isinstance(part, list):
        return [filled(each, values) for each in part]
    if isinstance(part, dict):
        return {key: filled(each, values) for key, each in part.items()}
    return part


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    name = found["name"]
    if name not in values:
        raise StartError(f"{name} is not set: {found['why'] or 'it is a variable of compose.yaml'}")
    return values[name]
