"""Kafka brokers on free ports, from the jars of `make setup-stack`."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from compose.monitoring import java
from tests.marketplace import ROOT, free_ports
from tests.processes import ServerProcess
from tests.waiting import until, wait_until

JAVA = java()
INSTALLED = ROOT / "third_party" / "kafka"
JARS = sorted(map(str, INSTALLED.glob("*.jar")))
CLASSES = INSTALLED / "classes.jsa"
"""The classes of a broker as the JVM has them in memory: they halve the CPU that a start needs."""
FLAGS = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    *([f"-XX:SharedArchiveFile={CLASSES}"] if CLASSES.exists() else []),
]
COMMON = ROOT / "compose" / "kafka" / "server.properties"
OWN = """
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{address},CONTROLLER://{controller}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
"""
CLUSTER_ID = "dGhlIG1hcmtldHBsYWNlLg"
STARTED = "Kafka Server started"
START_SECONDS = 60
"""Time enough to recover from a crash."""
STOP_SECONDS = 60
KEEPER = """
import fcntl, os, signal
fcntl.flock(os.open("users", os.O_RDONLY), fcntl.LOCK_EX)
open("address", "w").close()
os.killpg(0, signal.SIGKILL)
"""
"""When nobody holds the lock of the users any more, it takes the address back and kills its group of processes."""

_outliving: list[object] = []
"""What is left to the keeper of a shared broker."""


class Broker(ServerProcess):
    """A broker, which is a controller, too. What it has stored outlives it."""

    def __init__(self, folder: Path, settings: str, group: int) -> None:
        self._folder, self._group = folder, group
        self._settings, self._data, self._log = folder / "server.properties", folder / "data", folder / "log"
        folder.mkdir()
        self._settings.write_text(f"{COMMON.read_text()}{settings}log.dirs={self._data}\n")
        formatting = self._run("kafka.tools.StorageTool", "format", f"--cluster-id={CLUSTER_ID}", "--config")
        assert formatting.wait() == 0, self._log.read_text()
        self.start()

    def start(self, *flags: str) -> None:
        """Starts it, with more flags of the JVM, and waits until clients can use it."""
        self._process = self._run(*flags, "kafka.Kafka")
        wait_until(self._is_started, START_SECONDS)

    def _is_started(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return STARTED in self._log.read_text()

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        assert JAVA is not None
        with self._log.open("w") as log:
            return subprocess.Popen(
                [JAVA, *FLAGS, "-cp", ":".join(JARS), *command, str(self._settings)],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self._group,
            )

    @property
    def leader(self) -> int:
        """The number of the broker whose controller it follows."""
        state = self._data / "__cluster_metadata-0" / "quorum-state"
        return int(json.loads(state.read_text())["leaderId"])

    def stop(self) -> None:
        """Lets it finish, and waits until it is gone."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS)


@dataclass(frozen=True)
class Kafka:
    """A running cluster."""

    bootstrap: str
    """Where its brokers listen, as clients want to know it."""
    brokers: Sequence[Broker]

    @property
    def leader(self) -> Broker:
        """The one whose controller is in charge."""
        return self.brokers[self.brokers[0].leader]


@contextmanager
def running_kafka(brokers: int = 1) -> Iterator[Kafka]:
    """A cluster of its own. Each of its brokers has every message, and a majority of them before it is acknowledged."""
    skip_without_kafka()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="kafka-"))
        stack.callback(shutil.rmtree, folder)
        stack.enter_context(locked(folder / "users", fcntl.LOCK_SH))
        keeper = stack.enter_context(start_keeper(folder))
        stack.callback(os.killpg, keeper.pid, signal.SIGKILL)
        kafka = start_kafka(folder, brokers, keeper.pid)
        for broker in kafka.brokers:
            stack.callback(broker.kill)
        yield kafka


@contextmanager
def shared_kafka(folder: Path) -> Iterator[str]:
    """The address of one broker for all processes that name the folder.

    The first of them starts it, and it ends with the last of them, however that ends.
    """
    skip_without_kafka()
    folder.mkdir(exist_ok=True)
    address = folder / "address"
    with locked(folder / "users", fcntl.LOCK_SH):
        with locked(address, fcntl.LOCK_EX):
            if not address.read_text():
                keeper = start_keeper(folder)
                kafka = start_kafka(Path(tempfile.mkdtemp(dir=folder)), 1, keeper.pid)
                _outliving.extend([keeper, kafka])
                address.write_text(kafka.bootstrap)
        yield address.read_text()


def skip_without_kafka() -> None:
    if JAVA is None or not JARS:
        pytest.skip("there is no Kafka: `make setup-stack` installs it")


def start_keeper(folder: Path) -> subprocess.Popen[bytes]:
    """The first of a group of processes that end when nobody holds the lock of the folder's users any more."""
    return subprocess.Popen(
        [sys.executable, "-ISc", KEEPER],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def start_kafka(folder: Path, count: int, group: int) -> Kafka:
    """Starts brokers that have their data in the folder, in a group of processes."""
    listening = [f"127.0.0.1:{port}" for port in free_ports(2 * count)]
    addresses, controllers = listening[:count], listening[count:]
    voters = ",".join(f"{node}@{controller}" for node, controller in enumerate(controllers))

    def start_broker(node: int) -> Broker:
        own = OWN.format(
            node=node,
            voters=voters,
            address=addresses[node],
            controller=controllers[node],
            replicas=count,
            in_sync=count // 2 + 1,
        )
        return Broker(folder / str(node), own, group)

    with ThreadPoolExecutor() as pool:  # none of them is ready before most of them are
        return Kafka(",".join(addresses), list(pool.map(start_broker, range(count))))


@contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, kind)
        yield


async def create_topic(bootstrap: str, partitions: int = 1) -> str:
    """Makes a topic that no other test knows, with a replica on each broker, and gives its name."""
    name = f"test-{uuid4()}"
    new = NewTopic(name, partitions, replication_factor=-1, replica_assignments={})
    async with administrator(bootstrap) as admin:
        [made] = (await admin.create_topics([new])).to_object()["topic_errors"]
        if made["error_code"]:
            raise for_code(made["error_code"])(made["error_message"])

        async def is_known() -> bool:
            [topic] = await admin.describe_topics([name])
            return len(topic["partitions"]) == partitions

        await until(is_known)
    return name


@asynccontextmanager
async def administrator(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Who asks the brokers about topics and groups."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


if __name__ == "__main__":  # makes CLASSES
    with running_kafka() as kafka:
        [broker] = kafka.brokers
        broker.stop()
        broker.start(f"-XX:ArchiveClassesAtExit={CLASSES}")
        broker.stop()
