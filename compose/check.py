"""Finds what is wrong with the stack before somebody starts it: `python -m compose.check compose/compose.yaml`.

Everything is told at once, each with the service and with what to do. That the file is one of
the Compose Specification is for others to say: check-jsonschema, and compose-go, which is asked here.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from compose.native import Process, processes
from compose.secrets import PASSWORD, TOKEN
from compose.stack import FILE, PORTS, VARIABLE, Deploy, Native, Part, Service, Stack, filled, parsed, read_env
from services.chassis.settings import Settings, StartError, load

ROOT = Path(__file__).parent.parent
GATEWAY = ROOT / "bin" / "gateway"
GATEWAY_COMMAND = ("bin/gateway",)
COMPOSE_GO = ROOT / "bin" / "compose-go"

NON_ROOT = {
    "apache/kafka": "appuser",
    "edoburu/pgbouncer": "postgres",
    "grafana/grafana": "472",
    "kafbat/kafka-ui": "kafkaui",
    "prom/prometheus": "nobody",
}
"""Images that say themselves as whom they run."""
MADE = {"../.data/access/keys.json": "compose.secrets makes it"}
"""Mounted files that need not be there yet."""
OWN_PLACES = {
    "GF_SERVER_HTTP_PORT": "Grafana takes the port alone",
    "KAFKA_CONTROLLER": "the broker is its own controller, and listens at this name",
    "SERVER_PORT": "kafka-ui takes the port alone",
}
"""Variables that say where the service itself listens, but not as 0.0.0.0:PORT."""
OTHER_PORT = {"jaeger": "as a process it is Zipkin, which tells of itself where it takes spans"}
"""Services that a container asks at another port than the runner."""
UNSAID = {
    "product_rate_limit": "the contract says it",
    "tls_authority": "calls within the stack are plain",
    "tls_certificate": "calls within the stack are plain",
    "tls_key": "calls within the stack are plain",
    "token": "access is on, so that it is nobody's",
}
"""Settings without which a part of a service is off, or is as on the machine of a developer, and should be."""

ANYWHERE = "0.0.0.0"  # noqa: S104  what a container listens on
HERE = "127.0.0.1"
PLACE = re.compile(r"(?:^|//|[@,=\s])(?P<host>[A-Za-z][\w.-]*):(?P<port>\d+)(?![\w@])")
WITHOUT_PORT = re.compile(r"//(?:[^/@\s]*@)?(?P<host>[A-Za-z][\w.-]*)(?=[/?,\s]|$)")
OWN_PLACE = re.compile(rf"(?<![\w.]){re.escape(ANYWHERE)}:(\d+)")
PORT = re.compile(r"(?<![\w.])\d{4,5}(?![\w.])")
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?")
BRANCH = re.compile(r"^    (\w+)\)(.*?);;", re.MULTILINE | re.DOTALL)
"""What a start script does for one of its words."""
NAME = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


class Healthcheck(Part):
    test: list[str]


class Limits(Part):
    cpus: str | None = None
    memory: str | None = None


class Resources(Part):
    limits: Limits = Limits()


class Deployed(Deploy):
    resources: Resources = Resources()


class Container(Service):
    """A service, with what only containers have."""

    image: str = ""
    build: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    ports: list[str] = Field(default_factory=list)
    read_only: bool = False
    cap_drop: list[str] = Field(default_factory=list)
    security_opt: list[str] = Field(default_factory=list)
    healthcheck: Healthcheck | None = None
    deploy: Deployed = Deployed()
    native: Native = Field(default=Native(), alias="x-native")

    @property
    def is_one_shot(self) -> bool:
        """Whether it does its work and ends."""
        return self.restart == "no"

    @property
    def texts(self) -> list[str]:
        """All that may name a place."""
        native = self.native
        said = [native.ready or "", native.shows or "", *(native.command or []), *native.environment.values()]
        return [*self.entrypoint, *self.command, *self.environment.values(), *self.tests, *said]

    @property
    def tests(self) -> list[str]:
        return self.healthcheck.test if self.healthcheck else []

    @property
    def listens(self) -> set[int]:
        """The ports where it listens, as far as it is said."""
        texts = [*self.command, *self.environment.values()]
        numbers = [port for text in texts for port in OWN_PLACE.findall(text)]
        numbers += [word for option, word in zip(self.command, self.command[1:], strict=False) if option == "--port"]
        numbers += [self.environment[name].rpartition(":")[2] for name in OWN_PLACES if name in self.environment]
        return {int(number) for number in numbers if number.isdecimal()}


class Containers(Part):
    services: dict[str, Container]
    volumes: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What a file says, and the values of its variables."""

    file: Path
    content: Any
    """The file as it stands."""
    ports: Mapping[str, str]
    """The variables of .env."""

    @cached_property
    def names(self) -> set[str]:
        """The variables that it uses."""
        return {found["name"] for found in VARIABLE.finditer(str(self.content))}

    @property
    def values(self) -> dict[str, str]:
        """Values for all of them: those that are secret are not needed to find mistakes."""
        return {**dict.fromkeys(self.names, "secret"), **self.ports}

    @cached_property
    def filled(self) -> Any:
        return filled(self.content, self.values)


@dataclass(frozen=True)
class Checked:
    """A file that can be looked into."""

    said: Said
    services: Mapping[str, Container]
    volumes: frozenset[str]
    processes: Sequence[Process]
    """How it runs without containers."""


Rule = Callable[[Checked], Iterator[str]]


def read(file: Path) -> Said:
    """The file. Raises StartError if it is none."""
    try:
        return Said(file, parsed(file.read_text()), read_env(file.with_name(PORTS.name)))
    except (OSError, yaml.YAMLError) as error:
        raise StartError(f"{file}: {error}") from None


def findings(said: Said) -> list[str]:
    """What is wrong with it, as far as we know more than the Compose Specification."""
    found = [*variables(said)]
    try:
        containers = Containers.model_validate(said.filled)
    except ValidationError as error:
        return [*found, *(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())]
    natively: Sequence[Process] = ()
    try:
        natively = processes(Stack(services={**containers.services}), ROOT, {}, said.file)
    except StartError as error:
        found.append(f"without containers: {error}")
    checked = Checked(said, containers.services, frozenset(containers.volumes), natively)
    return [*found, *(finding for rule in RULES for finding in rule(checked))]


def of_compose_go(said: Said) -> Iterator[str]:
    """What the reference implementation of the Compose Specification says. Its program fills in no variables."""
    done = _run(COMPOSE_GO, "-", cwd=said.file.parent, input=json.dumps(said.filled))
    yield from (f"compose-go: {line}" for line in done.stderr.splitlines())


def variables(said: Said) -> Iterator[str]:
    """Each variable has a value, and each value is used."""
    secret = {name for name in said.names if PASSWORD.fullmatch(name) or name == TOKEN}
    yield from (f"${{{name}}} has no value: say it in .env" for name in sorted(said.names - said.ports.keys() - secret))
    yield from (f"{name} of .env is not used: take it away" for name in sorted(said.ports.keys() - said.names))


def dependencies(checked: Checked) -> Iterator[str]:
    """Services wait for services, and for what these can become."""
    for name, service in checked.services.items():
        for other, dependency in service.depends_on.items():
            awaited = checked.services.get(other)
            if awaited is None:
                yield f"{name}: depends_on {other}, which is no service"
            elif dependency.condition == "service_healthy" and awaited.healthcheck is None:
                yield f"{name}: waits until {other} is healthy, which has no healthcheck"
            elif dependency.condition == "service_completed_successfully" and not awaited.is_one_shot:
                yield f'{name}: waits for the end of {other}, which has no end: say restart: "no"'
    try:
        TopologicalSorter({name: service.depends_on for name, service in checked.services.items()}).prepare()
    except CycleError as error:
        yield f"these wait for each other: {' <- '.join(error.args[1])}"


def places(checked: Checked) -> Iterator[str]:
    """An address leads to a service, where that one listens."""
    for name, service in checked.services.items():
        for text in service.texts:
            yield from (f"{name}: {finding}" for finding in _of_places(checked, text))
    for name, service in checked.services.items():
        for port in _numbers(service.tests) - service.listens:
            yield f"{name}: its healthcheck asks port {port}, where it does not listen"


def _of_places(checked: Checked, text: str) -> Iterator[str]:
    yield from (f"{text} has no port for {found['host']}: say it" for found in WITHOUT_PORT.finditer(text))
    for found in PLACE.finditer(text):
        service, port = checked.services.get(found["host"]), int(found["port"])
        if service is None:
            yield f"{text} names the host {found['host']}, which is no service"
        elif port not in service.listens:
            yield f"{text} names port {port} of {found['host']}, which listens on {_listed(service.listens)}"


def _listed(ports: set[int]) -> str:
    return ", ".join(map(str, sorted(ports))) or "none"


def _numbers(texts: Sequence[str]) -> set[int]:
    return {int(number) for text in texts for number in PORT.findall(text)}


def published(checked: Checked) -> Iterator[str]:
    """What is published is there for this machine only, and once."""
    for name, service in checked.services.items():
        yield from (f"{name}: publishes {text}{why}" for text in service.ports for why in _unpublishable(service, text))
        if service.ports and service.deploy.replicas > 1:
            yield f"{name}: its {service.deploy.replicas} replicas cannot share the ports that it publishes"


def _unpublishable(service: Container, text: str) -> Iterator[str]:
    """What is wrong with a port of a container that is published."""
    address, _, port = text.rpartition(":")
    if not address.startswith(f"{HERE}:"):
        yield f" to other machines: write {HERE}:{text.removeprefix(f'{ANYWHERE}:')}"
    if not port.isdecimal() or int(port) not in service.listens:
        yield f", but it listens on {_listed(service.listens)}"


def mounts(checked: Checked) -> Iterator[str]:
    """What is mounted exists or is declared, and what is declared is mounted."""
    folder = checked.said.file.parent
    users = [
        (name, volume.partition(":")[0]) for name, service in checked.services.items() for volume in service.volumes
    ]
    for name, source in users:
        if source.startswith("."):
            if source not in MADE and not (folder / source).exists():
                yield f"{name}: mounts {source}, which does not exist"
        elif source not in checked.volumes:
            yield f"{name}: the volume {source} is not declared below volumes:"
    unused = checked.volumes - {source for _, source in users}
    yield from (f"the volume {name} is declared, but nobody mounts it" for name in sorted(unused))


def images(checked: Checked) -> Iterator[str]:
    """An image stays what it is."""
    for name, service in checked.services.items():
        tag = service.image.rpartition("/")[2].partition(":")[2]
        if tag in {"", "latest"}:
            yield f"{name}: say which version of {service.image or 'the image'} it is, by a tag that is not latest"


def limits(checked: Checked) -> Iterator[str]:
    """No container may do more than it has to."""
    for name, service in checked.services.items():
        limited = service.deploy.resources.limits
        needs = {
            "read_only: true": service.read_only,
            "cap_drop: [ALL]": service.cap_drop == ["ALL"],
            'security_opt: ["no-new-privileges:true"]': "no-new-privileges:true" in service.security_opt,
            "a limit of memory": limited.memory,
            "a limit of cpus": limited.cpus,
            "restart": "restart" in checked.said.content["services"][name],
            "a healthcheck": service.healthcheck or service.is_one_shot,
            "a user that is not root": _is_not_root(service, checked.said.file.parent),
        }
        yield from (f"{name}: needs {need}" for need, is_there in needs.items() if not is_there)


def _is_not_root(service: Container, folder: Path) -> bool:
    if service.user is None and service.build:
        dockerfile = folder / service.build["context"] / service.build["dockerfile"]
        users = re.findall(r"^USER (\S+)", dockerfile.read_text().rpartition("\nFROM ")[2], re.MULTILINE)
    else:
        users = [service.user or NON_ROOT.get(service.image.partition(":")[0], "root")]
    return users != [] and users[-1].partition(":")[0] not in {"root", "0"}


def environments(checked: Checked) -> Iterator[str]:
    """Who is told something listens, and has been told all that matters."""
    for name, service in checked.services.items():
        folder = checked.said.file.parent
        known, needed = _known(service, folder), _needed(service, folder)
        if known is not None:
            yield from (f"{name}: does not know {each}" for each in sorted(service.environment.keys() - known))
        yield from (
            f"{name}: say {each}, or list it in UNSAID of compose/check.py"
            for each in sorted(needed - service.environment.keys())
        )


def _known(service: Container, folder: Path) -> set[str] | None:
    """The variables that it reads, or None if nobody here knows."""
    if tuple(service.command) == GATEWAY_COMMAND:
        return {*gateway_variables()}
    if classes := _settings(service.command):
        telemetry = {name for name in gateway_variables() if name.startswith("OTEL_")}
        return telemetry | {each.variable(field) for each in classes for field in each.model_fields}
    script = _script(service, folder)
    return None if script is None else {*NAME.findall(script)}


def _script(service: Container, folder: Path) -> str | None:
    """Its start script, if it has one."""
    names = [word for word in service.command if word.startswith("/stack/") and word.endswith(".sh")]
    return (folder / names[0].removeprefix("/stack/")).read_text() if names else None


def _needed(service: Container, folder: Path) -> set[str]:
    """The variables that name a place or turn a part on, or that a start script cannot do without."""
    script = _script(service, folder)
    if script is not None:
        branches = dict(BRANCH.findall(script))
        own = [branches[word] for word in service.command if word in branches]
        return {*REQUIRED.findall("".join([BRANCH.sub("", script), *own]))}
    if tuple(service.command) == GATEWAY_COMMAND:
        return {name for name in gateway_variables() if name.endswith(("_LISTEN", "_ADDRESS", "_ACCESS"))}
    return {
        settings.variable(field)
        for settings in _settings(service.command)
        for field, info in settings.model_fields.items()
        if _is_a_place(field, info) and field not in UNSAID
    }


def _is_a_place(field: str, info: FieldInfo) -> bool:
    default = info.get_default()
    is_address = isinstance(default, str) and ":" in default
    return field == "storage" or info.is_required() or default is None or is_address or "Secret" in str(info.annotation)


@cache
def gateway_variables() -> tuple[str, ...]:
    """What the gateway reads, as it tells itself."""
    return tuple(_run(GATEWAY, "--variables").stdout.split())


def _settings(command: Sequence[str]) -> list[type[Settings]]:
    """What a service of ours can be told."""
    match command:
        case ["python", "-m", program, *_] if _exists(program):
            return settings_of(program)
    return []


def _exists(program: str) -> bool:
    try:
        return find_spec(program) is not None
    except ModuleNotFoundError:
        return False


def programs(checked: Checked) -> Iterator[str]:
    """What is run is there."""
    for name, service in checked.services.items():
        match service.command:
            case ["python", "-m", program, *_] if not _exists(program):
                yield f"{name}: there is no {program} to run"


def settings_of(program: str) -> list[type[Settings]]:
    """The settings of `python -m PROGRAM`."""
    module = import_module(program)
    if hasattr(module, "__path__"):
        module = import_module(f"{program}.__main__")
    classes = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Settings)]
    return [each for each in classes if each.__module__ == module.__name__]


def mistakes(checked: Checked) -> Iterator[str]:
    """The settings can be read, in containers and without."""
    for name, service in checked.services.items():
        yield from (f"{name}: {each}" for each in _mistakes(*service.command, **service.environment))
    for process in checked.processes:
        command = checked.services[process.service].command
        found = _mistakes(*command, **process.environment)
        yield from (f"{process.name}, without a container: {each}" for each in found)


@cache
def _mistakes(*command: str, **environment: str) -> tuple[str, ...]:
    """What is wrong with the settings of a program of ours."""
    if command == GATEWAY_COMMAND:
        return tuple(_run(GATEWAY, "--check", env=environment).stderr.splitlines())
    found: dict[str, None] = {}
    with _environment(environment):
        for settings in _settings(command):
            try:
                load(settings)
            except StartError as error:
                found |= dict.fromkeys(str(error).splitlines())
    return tuple(found)


@contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def replicas(checked: Checked) -> Iterator[str]:
    """Who is told how many there are is told the truth."""
    for name, service in checked.services.items():
        variable = f"{name.upper()}_REPLICAS"
        told, there_are = service.environment.get(variable), service.deploy.replicas
        if told is not None and told != str(there_are):
            yield f"{name}: {variable} is {told}, but there are {there_are} replicas"


def natives(checked: Checked) -> Iterator[str]:
    """Every service says how it runs without a container."""
    for name, service in checked.services.items():
        said = "x-native" in checked.said.content["services"][name]
        why = _natively(service) if said else "say in x-native how it runs without a container"
        if why and name not in OTHER_PORT:
            yield f"{name}: {why}"


def wanted_ports(checked: Checked) -> Iterator[str]:
    """No two processes want the same port."""
    wanted = Counter(port for process in checked.processes for port in process.ports)
    for port in (port for port, count in wanted.items() if count > 1):
        names = ", ".join(process.name for process in checked.processes if port in process.ports)
        yield f"{names}: all of them want port {port} when they run without containers: change .env"


def _natively(service: Container) -> str | None:
    """What is wrong with how a service runs without a container."""
    native = service.native
    if not (native.ready or native.absent or service.is_one_shot):
        return "say in x-native where it is asked whether it is ready, or why it is absent"
    asked, tested = _numbers([native.ready or ""]), _numbers(service.tests)
    if not asked <= tested:
        return f"x-native asks port {_listed(asked)}, its healthcheck {_listed(tested)}"
    return None


RULES: tuple[Rule, ...] = (
    programs,
    dependencies,
    places,
    published,
    mounts,
    images,
    limits,
    environments,
    mistakes,
    replicas,
    natives,
    wanted_ports,
)


def _run(program: Path, argument: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    if not program.exists():
        raise StartError(f"{program} is missing: run `make setup`")
    command = [str(program), argument]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603  it is ours


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m compose.check", description="Finds what is wrong with the stack.")
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    file: Path = parser.parse_args().file.absolute()
    try:
        said = read(file)
        found = [*of_compose_go(said), *findings(said)]
    except StartError as error:
        found = [str(error)]
    sys.stderr.writelines(f"{file.name}: {finding}\n" for finding in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
