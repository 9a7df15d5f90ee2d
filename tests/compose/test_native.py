"""compose.yaml as processes of this machine: paths, addresses, commands and environments."""

import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from compose.native import Process, addressed, mounted, processes
from compose.stack import FILE, VARIABLE, Stack, read_stack
from services.chassis.settings import StartError
from tests.marketplace import SERVICES

FOLDER = Path("/folder")
ENVIRONMENT = {"PATH": "/bin", "HOME": "/home", "TZ": "UTC", "SECRET": "of the shell"}
MOUNTS = {"/stack": Path("/tmp/stack"), "/tmp": Path("/folder/one/tmp"), "/tmp/deep": Path("/deep")}
REPLICAS = {"one": 1, "many": 3, "many-more": 1}


def process(name: str = "one", **services: dict[str, Any]) -> Process:
    """One of the processes of these services."""
    stack = Stack.model_validate({"services": {key: {"x-native": {}, **service} for key, service in services.items()}})
    [found] = [each for each in processes(stack, FOLDER, ENVIRONMENT) if each.name == name]
    return found


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("/stack", "/tmp/stack"),
        ("/stack/start.sh", "/tmp/stack/start.sh"),
        ("--config=/stack/a.yml", "--config=/tmp/stack/a.yml"),
        ("/tmp/deep/a:/tmp/a", "/deep/a:/folder/one/tmp/a"),
        ("/stacks", "/stacks"),
        ("/stack-2", "/stack-2"),
        ("/var/tmp", "/var/tmp"),
        ("http://host/tmp", "http://host/tmp"),
    ],
)
def test_a_path_leads_to_what_is_mounted_there(text: str, translated: str) -> None:
    assert mounted(text, MOUNTS) == translated


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0:80", "127.0.0.1:100"),
        ("http://0.0.0.0:80/ready", "http://127.0.0.1:100/ready"),
        ("one:80", "127.0.0.1:80"),
        ("many:80", "127.0.0.1:80,127.0.0.1:90,127.0.0.1:100"),
        ("many-more:80", "127.0.0.1:80"),
        ("redis://one:1,redis://many-more:2", "redis://127.0.0.1:1,redis://127.0.0.1:2"),
        ("postgresql://one_app:s@one:80/one", "postgresql://one_app:s@127.0.0.1:80/one"),
        ("someone:80", "someone:80"),
        ("one.example:80", "one.example:80"),
        ("one", "one"),
        ("10.0.0.0:80", "10.0.0.0:80"),
    ],
)
def test_an_address_is_that_of_a_process_and_of_all_replicas(text: str, translated: str) -> None:
    assert addressed(text, REPLICAS, 2) == translated


def test_replicas_within_a_url_are_a_mistake() -> None:
    with pytest.raises(StartError, match="http://many:80/: many has 3 replicas"):
        addressed("http://many:80/", REPLICAS, 0)


def test_each_replica_has_its_name_its_ports_and_its_temporary_folder() -> None:
    service = {
        "command": ["serve", "--listen=0.0.0.0:80"],
        "environment": {"OWN": "one:90", "OTHER": "other:80", "CACHE": "/cache"},
        "tmpfs": ["/cache"],
        "deploy": {"replicas": 2},
        "x-native": {"ready": "http://0.0.0.0:81/", "shows": "It, http://0.0.0.0:80/"},
    }
    first, second = (process(name, one=service, other={"command": ["run"]}) for name in ("one-1", "one-2"))

    assert first.command == ["serve", "--listen=127.0.0.1:80"]
    assert second.command == ["serve", "--listen=127.0.0.1:90"]
    assert (first.ready, second.ready) == ("http://127.0.0.1:81/", "http://127.0.0.1:91/")
    assert second.ports == {90: 80, 91: 81, 100: 90}
    assert second.environment["CACHE"] == "/folder/tmp/one-2/cache"
    assert second.tmpfs == [Path("/folder/tmp/one-2/cache")]
    assert (first.shows, second.shows) == ("It, http://127.0.0.1:80/", None)


def test_what_is_mounted_is_where_it_is_in_the_project_and_in_the_folder() -> None:
    service = {
        "command": ["/scripts/start.sh", "/data/new", "/keys.json"],
        "volumes": ["./kafka:/scripts:ro", "kept:/data", "../README.md:/keys.json:ro"],
    }
    one = process(one=service)

    assert one.command == [f"{FILE.parent}/kafka/start.sh", "/folder/kept/new", f"{FILE.parents[1]}/README.md"]
    assert one.volumes == [Path("/folder/kept")]


def test_a_command_is_that_of_the_container_unless_there_is_another() -> None:
    container = {"entrypoint": ["/bin/sh"], "command": ["start.sh", "0.0.0.0:80"]}
    native = {"command": ["python", "-m", "python", "0.0.0.0:90"]}
    first, second = process(one=container), process(one={**container, "x-native": native})

    assert (first.command, first.ports) == (["/bin/sh", "start.sh", "127.0.0.1:80"], {80: 80})
    assert (second.command, second.ports) == ([sys.executable, "-m", "python", "127.0.0.1:90"], {90: 90})


def test_a_process_is_told_what_the_file_says_and_little_else() -> None:
    service = {"command": ["run"], "environment": {"A": "1", "B": "2"}, "x-native": {"environment": {"B": "3"}}}
    environment = dict(process(one=service).environment)
    path = environment.pop("PATH").split(":")

    assert environment == {"A": "1", "B": "3", "HOME": "/home", "TZ": "UTC"}
    assert "/bin" in path
    assert "/usr/sbin" in path
    assert any((Path(folder) / "initdb").exists() for folder in path)


def test_java_is_that_of_java_home() -> None:
    stack = Stack.model_validate({"services": {"one": {"command": ["java"], "x-native": {}}}})
    [one] = processes(stack, FOLDER, {**ENVIRONMENT, "JAVA_HOME": "/jdk"})

    assert one.environment["JAVA_HOME"] == "/jdk"
    assert one.environment["PATH"].startswith("/jdk/bin:")


def test_what_is_absent_does_not_run_and_nobody_may_need_it() -> None:
    absent = {"command": ["run"], "x-native": {"absent": "it is a container only"}}
    needs = {"command": ["run"], "depends_on": {"other": {"condition": "service_healthy"}}}

    assert process(one={"command": ["run"]}, other=absent).name == "one"
    with pytest.raises(StartError, match="one needs what does not run: other"):
        process(one=needs, other=absent)


def test_life_and_end_are_as_in_a_container() -> None:
    service = {
        "command": ["run"],
        "restart": "unless-stopped",
        "stop_signal": "SIGINT",
        "stop_grace_period": "7s",
        "depends_on": {"other": {"condition": "service_completed_successfully"}},
    }
    one = process(one=service, other={"command": ["run"]})
    other = process("other", one=service, other={"command": ["run"]})

    assert (one.restart, one.stop_signal, one.grace_seconds, one.after) == (
        "unless-stopped", signal.SIGINT, 7, ["other"],
    )  # fmt: skip
    assert (other.restart, other.stop_signal, other.grace_seconds, other.after) == ("no", signal.SIGTERM, 10, [])


def test_the_stack_of_the_project_has_no_host_and_no_mount_of_a_container_left() -> None:
    secrets = dict.fromkeys((found["name"] for found in VARIABLE.finditer(FILE.read_text())), "0")
    found = processes(read_stack(environment={**secrets, **ENVIRONMENT}), FOLDER, ENVIRONMENT)
    told = [text for each in found for text in (*each.command, *each.environment.values(), each.ready or "")]
    hosts = "|".join({each.service for each in found} | {re.escape("0.0.0.0")})

    assert {*SERVICES, "gateway"} < {each.service for each in found}
    assert [text for text in told if re.search(rf"(^|[@/,])({hosts}):\d", text)] == []
    assert [text for text in told if "/stack/" in text.replace(str(FILE.parents[1]), "")] == []
