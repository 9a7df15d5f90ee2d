"""Prometheus and Zipkin beside a running marketplace: `python -m compose.monitoring`.

With `prometheus` or `zipkin` behind it, it is that one alone.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostbyname

from pydantic_settings import SettingsConfigDict

from services.__main__ import AllSettings, load_all, refuse
from services.chassis.lifecycle import run_to_exit, stop_on_signal
from services.chassis.listening import answered, listener
from services.chassis.settings import Address, Settings, StartError, load

CONFIG = Path(__file__).parent / "prometheus"
ZIPKIN = Path(__file__).parents[1] / "third_party" / "zipkin"
ZIPKIN_CLASSES = ZIPKIN / "classes.jsa"
"""The classes of a Zipkin as the JVM has them in memory: it starts in less than half of the time with them."""
PROCESSES = Path("/proc")
LISTENING = "0A"

ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
"""A program that starts another one, which is told to stop when we end, however that happens."""
REPLICAS = 10
"""How many replicas of a service are looked for, each ten ports above the one before."""
WATCH_SECONDS = 2
STOP_SECONDS = 10

READY = """
  Prometheus   http://{prometheus}/  (alerts: http://{prometheus}/alerts)
  Zipkin       http://{zipkin}/

  To send traces there, start the marketplace with

    OTEL_TRACES_EXPORTER=zipkin OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://{zipkin}/api/v2/spans make run

  What is measured is kept in {folder}, traces live as long as this process. Ctrl-C stops it.

"""


class PrometheusSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="PROMETHEUS_")

    listen: Address = "127.0.0.1:9090"
    """Where Prometheus answers."""
    folder: Path = Path(".data/prometheus")
    """Where it keeps what it has scraped, and its log."""


class ZipkinSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="ZIPKIN_")

    listen: Address = "127.0.0.1:9411"
    """Where Zipkin answers and takes spans."""
    folder: Path = Path(".data/zipkin")
    """Where its log is."""


SETTINGS: Mapping[str, type[PrometheusSettings | ZipkinSettings]] = {
    "prometheus": PrometheusSettings,
    "zipkin": ZipkinSettings,
}
"""What may be started."""


@dataclass(frozen=True)
class Server:
    """What is started: a name for people, a command, and where it listens."""

    name: str
    command: Sequence[str | Path]
    listen: str
    log: Path


def prometheus_server(settings: PrometheusSettings) -> Server:
    """A Prometheus with the rules of the project, which scrapes what is in `config/targets.json` of its folder."""
    program = shutil.which("prometheus")
    if program is None:
        raise StartError("there is no Prometheus: run `make setup-stack`")
    config = targets_of(settings).parent
    with suppress(FileNotFoundError):
        shutil.rmtree(config)
    shutil.copytree(CONFIG, config)
    options = {
        "config.file": config / "prometheus.yml",
        "storage.tsdb.path": settings.folder / "data",
        "web.listen-address": settings.listen,
        "log.level": "warn",
    }
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    return Server("Prometheus", command, settings.listen, settings.folder / "log")


def targets_of(settings: PrometheusSettings) -> Path:
    """Where its Prometheus reads what it is to scrape."""
    return settings.folder / "config" / "targets.json"


def java() -> str | None:
    """That of JAVA_HOME, or else of the PATH."""
    return shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin:{os.environ['PATH']}")


def zipkin_server(settings: ZipkinSettings) -> Server:
    """A Zipkin that keeps its traces in memory."""
    program = java()
    jars = sorted(map(str, ZIPKIN.glob("BOOT-INF/lib/*.jar")))
    if program is None or not jars:
        raise StartError("there is no Zipkin, or no Java for it: run `make setup-stack`")
    settings.folder.mkdir(parents=True, exist_ok=True)
    host, _, port = settings.listen.rpartition(":")
    flags = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    if ZIPKIN_CLASSES.exists():
        flags.append(f"-XX:SharedArchiveFile={ZIPKIN_CLASSES}")
    door = {"ip": gethostbyname(host), "port": port, "protocols[0]": "http"}
    options = (f"--armeria.ports[0].{name}={value}" for name, value in door.items())
    command = [program, *flags, "-cp", ":".join(jars), "zipkin.server.ZipkinServer", *options]
    return Server("Zipkin", command, settings.listen, settings.folder / "log")


def side_ports(settings: AllSettings) -> dict[int, str]:
    """The ports at which operators may find a process, with the name of the service."""
    parts: dict[str, Address] = {each.service: each.side_listen for each in settings.services}
    parts["gateway"] = settings.gateway.side_listen
    firsts = {service: int(address.rpartition(":")[2]) for service, address in parts.items()}
    return {first + 10 * replica: service for service, first in firsts.items() for replica in range(REPLICAS)}


def listening() -> dict[str, int]:
    """The sockets of this machine at which somebody listens, each with its port."""
    ports = {}
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in (PROCESSES / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state == LISTENING:
                    ports[f"socket:[{inode}]"] = int(local.rpartition(":")[2], 16)
    return ports


def owners(sockets: Mapping[str, int]) -> dict[int, int]:
    """The process behind the port of each of these sockets.

    Processes of other users are not known. For them it is the negative of the port: a process for each.
    """
    found = {port: -port for port in sockets.values()}
    for pid, socket in _sockets_of_processes():
        if socket in sockets:
            found[sockets[socket]] = pid
    return found


def _sockets_of_processes() -> Iterator[tuple[int, str]]:
    for process in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    yield int(process.name), str(descriptor.readlink())


def targets(services: Mapping[int, str], owners: Mapping[int, int], before: Mapping[int, str]) -> dict[int, str]:
    """The ports to scrape, with the names of their jobs: one port for each process that listens.

    All side ports of a process show the same metrics. A port that was scraped before and has
    nobody who listens stays, so that its process is missed.
    """
    ports_of: dict[int, list[int]] = {}
    for port in sorted(services.keys() & owners.keys()):
        ports_of.setdefault(owners[port], []).append(port)
    found = {ports[0]: "marketplace" if len(ports) > 1 else services[ports[0]] for ports in ports_of.values()}
    return found | {port: job for port, job in before.items() if port not in owners}


def write_targets(file: Path, jobs: Mapping[int, str]) -> None:
    """Tells Prometheus what to scrape from now on."""
    groups = [{"targets": [f"127.0.0.1:{port}"], "labels": {"job": job}} for port, job in jobs.items()]
    new = file.with_suffix(".new")
    new.write_text(json.dumps(groups, indent=2))
    new.replace(file)


async def watch(file: Path, services: Mapping[int, str]) -> None:
    """Keeps the file of the targets up to date. Whose a socket is, which takes a while to find out, is asked once."""
    sockets: dict[str, int] | None = None
    jobs: dict[int, str] | None = None
    while True:
        listens = {socket: port for socket, port in listening().items() if port in services}
        if listens != sockets:
            found = targets(services, owners(listens), jobs or {})
            if found != jobs:
                write_targets(file, found)
                tell_targets(found)
            sockets, jobs = listens, found
        await asyncio.sleep(WATCH_SECONDS)


def tell_targets(jobs: Mapping[int, str]) -> None:
    """Tells the user who is scraped from now on."""
    told = ", ".join(f"{job} (port {port})" for port, job in sorted(jobs.items()))
    sys.stdout.write(f"scraping: {told or 'nothing yet, as no marketplace runs'}\n")
    sys.stdout.flush()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a server, out of reach of a Ctrl-C, until the block ends."""
    with server.log.open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *ENDS_WITH_US,
            *server.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """Has it stop, and kills it when that takes too long."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def answers(server: Server) -> None:
    """Waits until somebody answers there, and tells so."""
    await answered(server.listen)
    sys.stdout.write(f"{server.name} runs\n")
    sys.stdout.flush()


def check_ports(*settings: Settings) -> None:
    """Raises StartError with a line for every address that is taken."""
    mistakes = []
    for part in settings:
        try:
            listener(part, "listen").close()
        except StartError as error:
            mistakes.append(error)
    refuse(mistakes)


def server(settings: PrometheusSettings | ZipkinSettings) -> Server:
    """The server of these settings."""
    return prometheus_server(settings) if isinstance(settings, PrometheusSettings) else zipkin_server(settings)


async def run(names: Sequence[str]) -> int:
    """Runs these servers until a signal or the end of one of them; gives the exit code."""
    stop = stop_on_signal()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    settings = [load(SETTINGS[name]) for name in names]
    services = side_ports(load_all())
    check_ports(*settings)
    servers = [server(each) for each in settings]
    sys.stdout.write(f"{' and '.join(each.name for each in servers)} start, which takes a few seconds\n")
    sys.stdout.flush()
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(each)) for each in servers]
        announcing = asyncio.create_task(announce(servers, told_when_ready(settings)))
        watching = [watch(targets_of(each), services) for each in settings if isinstance(each, PrometheusSettings)]
        waits = [asyncio.create_task(wait) for wait in (stop.wait(), *(each.wait() for each in processes), *watching)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in (announcing, *waits):
            task.cancel()
        for task in done:
            task.result()
        return 0 if stop.is_set() else tell_ended(servers, processes)


def told_when_ready(settings: Sequence[PrometheusSettings | ZipkinSettings]) -> str:
    """Where to look. One server alone is part of a stack, which tells it."""
    if len(settings) < len(SETTINGS):
        return ""
    prometheus, zipkin = settings
    return READY.format(prometheus=prometheus.listen, zipkin=zipkin.listen, folder=prometheus.folder)


async def announce(servers: Sequence[Server], ready: str) -> None:
    """Tells the user when each of them answers, and `ready` when all do."""
    await asyncio.gather(*map(answers, servers))
    sys.stdout.write(ready)
    sys.stdout.flush()


def tell_ended(servers: Sequence[Server], processes: Sequence[asyncio.subprocess.Process]) -> int:
    """Tells which servers have ended by themselves; gives the exit code."""
    for server, process in zip(servers, processes, strict=True):
        if process.returncode is not None:
            sys.stderr.write(f"{server.name} has ended by itself, see {server.log}\n")
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compose.monitoring", description="Runs Prometheus and Zipkin.")
    parser.add_argument("only", nargs="?", choices=SETTINGS, help="the one to start; without, both are started")
    only = parser.parse_args().only
    run_to_exit(run([only] if only else list(SETTINGS)))


if __name__ == "__main__":
    main()
