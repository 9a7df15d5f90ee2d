"""The check of the stack finds each mistake that somebody can make in compose.yaml, and nothing in ours."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.check import (
    MADE,
    NON_ROOT,
    OTHER_PORT,
    OWN_PLACES,
    UNSAID,
    Said,
    findings,
    main,
    of_compose_go,
    read,
    settings_of,
)
from compose.stack import FILE, FOLDER
from services.chassis.settings import StartError

Services = dict[str, dict[str, Any]]
OURS = read(FILE)


def changed(change: Callable[[Services], object]) -> Said:
    """Our file after one change."""
    content = deepcopy(OURS.content)
    change(content["services"])
    return replace(OURS, content=content)


def told(service: str, **values: Any) -> Callable[[Services], object]:
    """Has a service say something else."""
    return lambda services: services[service].update(values)


def without(service: str, key: str) -> Callable[[Services], object]:
    """Has a service say nothing of it."""
    return lambda services: services[service].pop(key)


def hears(service: str, variable: str, value: str | None) -> Callable[[Services], object]:
    """Has a service hear something else in its environment, or nothing."""

    def change(services: Services) -> None:
        environment = services[service]["environment"] = dict(services[service]["environment"])
        environment.pop(variable, None)
        if value is not None:
            environment[variable] = value

    return change


def runs(service: str, **values: Any) -> Callable[[Services], object]:
    """Has a service run in another way without a container."""
    return lambda services: services[service]["x-native"].update(values)


def waits(service: str, other: str, condition: str) -> Callable[[Services], object]:
    """Has a service wait for another one."""
    return lambda services: services[service].setdefault("depends_on", {}).update({other: {"condition": condition}})


def limited(service: str, **limits: str) -> Callable[[Services], object]:
    """Has a service have no other limits."""
    return lambda services: services[service].update(deploy={"resources": {"limits": limits}})


def asked(service: str, *words: str) -> Callable[[Services], object]:
    """Has a container asked something else about its health."""
    return lambda services: services[service]["healthcheck"].update(test=["CMD", *words])


def cloned(service: str, name: str) -> Callable[[Services], object]:
    """Has the stack a second service of the kind."""
    return lambda services: services.update({name: deepcopy(services[service])})


def test_ours_has_no_mistake() -> None:
    assert findings(OURS) == []
    assert [*of_compose_go(OURS)] == []


MISTAKES = {
    "a variable without a value": (
        hears("loms", "LOMS_LISTEN", "0.0.0.0:${LOMS_PROT}"),
        "${LOMS_PROT} has no value: say it in .env",
    ),
    "a dependency on nobody": (
        waits("cart", "redis-3", "service_healthy"),
        "cart: depends_on redis-3, which is no service",
    ),
    "a circle": (
        waits("kafka", "cart", "service_healthy"),
        "these wait for each other: ",
    ),
    "waiting for the health of what has no healthcheck": (
        without("product", "healthcheck"),
        "cart: waits until product is healthy, which has no healthcheck",
    ),
    "waiting for the end of what has none": (
        told("topics", restart="unless-stopped"),
        'loms: waits for the end of topics, which has no end: say restart: "no"',
    ),
    "a host that is no service": (
        hears("cart", "CART_LOMS_ADDRESS", "lmos:50052"),
        "cart: lmos:50052 names the host lmos, which is no service",
    ),
    "a host of the developer's machine": (
        hears("gateway", "OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://localhost:9411/api/v2/spans"),
        "gateway: http://localhost:9411/api/v2/spans names the host localhost, which is no service",
    ),
    "a host in a URL with a user": (
        hears("cart", "CART_DATABASE_URL", "postgresql://cart_app:secret@cart-pg:6442/cart"),
        "cart: postgresql://cart_app:secret@cart-pg:6442/cart names the host cart-pg, which is no service",
    ),
    "a second host in a list": (
        hears("cart", "CART_REDIS_URLS", "redis://redis-1:6381,redis://redis-3:6382"),
        "cart: redis://redis-1:6381,redis://redis-3:6382 names the host redis-3, which is no service",
    ),
    "a second broker in a list": (
        hears("notifier", "NOTIFIER_KAFKA_BOOTSTRAP", "kafka:9092,kafka-2:9092"),
        "notifier: kafka:9092,kafka-2:9092 names the host kafka-2, which is no service",
    ),
    "a port of another service": (
        hears("cart", "CART_LOMS_ADDRESS", "loms:50053"),
        "cart: loms:50053 names port 50053 of loms, which listens on 9102, 50052",
    ),
    "a URL without a port": (
        hears("cart", "CART_DATABASE_URL", "postgresql://cart_app:secret@cart-postgres/cart"),
        "cart: postgresql://cart_app:secret@cart-postgres/cart has no port for cart-postgres: say it",
    ),
    "a pooler that is told of the replica": (
        hears("loms-pgbouncer", "PGBOUNCER_SERVER", "loms-replica:5441"),
        "loms-pgbouncer: loms-replica:5441 names port 5441 of loms-replica, which listens on 5451",
    ),
    "a healthcheck of a port where nobody listens": (
        asked("redis-1", "redis-cli", "-p", "6379", "ping"),
        "redis-1: its healthcheck asks port 6379, where it does not listen",
    ),
    "a healthcheck of another port than the runner's": (
        asked("loms", "python", "-m", "services.ready", "http://127.0.0.1:50052/readyz"),
        "loms: x-native asks port 9102, its healthcheck 50052",
    ),
    "a port that other machines reach": (
        told("gateway", ports=["8080:8080"]),
        "gateway: publishes 8080:8080 to other machines: write 127.0.0.1:8080:8080",
    ),
    "a port that all machines reach": (
        told("gateway", ports=["0.0.0.0:8080:8080"]),
        "gateway: publishes 0.0.0.0:8080:8080 to other machines: write 127.0.0.1:8080:8080",
    ),
    "a published port where nobody listens": (
        told("gateway", ports=["127.0.0.1:8080:80"]),
        "gateway: publishes 127.0.0.1:8080:80, but it listens on 8080, 9105",
    ),
    "a port that replicas share": (
        told("loms", ports=["127.0.0.1:50052:50052"]),
        "loms: its 2 replicas cannot share the ports that it publishes",
    ),
    "a volume that is not declared": (
        told("prometheus", volumes=["./prometheus:/stack/prometheus:ro", "metrics:/prometheus"]),
        "prometheus: the volume metrics is not declared below volumes:",
    ),
    "a volume that nobody uses": (
        told("prometheus", volumes=["./prometheus:/stack/prometheus:ro"]),
        "the volume prometheus is declared, but nobody mounts it",
    ),
    "a mounted file that is not there": (
        told("kafka", volumes=["./kafak:/stack/kafka:ro", "kafka:/var/lib/kafka/data"]),
        "kafka: mounts ./kafak, which does not exist",
    ),
    "an image without a tag": (
        told("redis-1", image="redis"),
        "redis-1: say which version of redis it is, by a tag that is not latest",
    ),
    "the latest image": (
        told("grafana", image="registry.example:5000/grafana/grafana:latest"),
        "grafana: say which version of registry.example:5000/grafana/grafana:latest it is, by a tag that is not latest",
    ),
    "no healthcheck": (without("jaeger", "healthcheck"), "jaeger: needs a healthcheck"),
    "no limit of memory": (limited("loms", cpus="1"), "loms: needs a limit of memory"),
    "no limit of cpus": (limited("loms", memory="1G"), "loms: needs a limit of cpus"),
    "a root file system that can be written": (without("cart", "read_only"), "cart: needs read_only: true"),
    "capabilities": (told("cart", cap_drop=["NET_RAW"]), "cart: needs cap_drop: [ALL]"),
    "new privileges": (
        without("cart", "security_opt"),
        'cart: needs security_opt: ["no-new-privileges:true"]',
    ),
    "no word on restarts": (without("cart", "restart"), "cart: needs restart"),
    "root": (told("redis-1", user="root"), "redis-1: needs a user that is not root"),
    "root with a group": (told("redis-1", user="0:0"), "redis-1: needs a user that is not root"),
    "an image that runs as root": (without("loms-postgres", "user"), "loms-postgres: needs a user that is not root"),
    "a variable that the service does not read": (
        hears("loms", "LOMS_KAFKA_BOOTSTRAPS", "kafka:9092"),
        "loms: does not know LOMS_KAFKA_BOOTSTRAPS",
    ),
    "a variable of another service": (
        hears("topics", "CART_LISTEN", "0.0.0.0:50051"),
        "topics: does not know CART_LISTEN",
    ),
    "a variable of telemetry that does not exist": (
        hears("notifier", "OTEL_TRACE_EXPORTER", "zipkin"),
        "notifier: does not know OTEL_TRACE_EXPORTER",
    ),
    "a variable that the gateway does not read": (
        hears("gateway", "GATEWAY_USERS_ADDRESS", "cart:50051"),
        "gateway: does not know GATEWAY_USERS_ADDRESS",
    ),
    "a variable that a start script does not read": (
        hears("kafka", "KAFKA_HEAP_OPTS", "-Xmx512m"),
        "kafka: does not know KAFKA_HEAP_OPTS",
    ),
    "an address that is not said": (
        hears("cart", "CART_PRODUCT_ADDRESS", None),
        "cart: say CART_PRODUCT_ADDRESS, or list it in UNSAID of compose/check.py",
    ),
    "events that go nowhere": (
        hears("loms", "LOMS_KAFKA_BOOTSTRAP", None),
        "loms: say LOMS_KAFKA_BOOTSTRAP, or list it in UNSAID of compose/check.py",
    ),
    "a cache for each replica": (
        hears("cart", "CART_REDIS_URLS", None),
        "cart: say CART_REDIS_URLS, or list it in UNSAID of compose/check.py",
    ),
    "data in memory": (
        hears("loms", "LOMS_STORAGE", None),
        "loms: say LOMS_STORAGE, or list it in UNSAID of compose/check.py",
    ),
    "a service that is open to all": (
        hears("product", "PRODUCT_ACCESS_KEYS", None),
        "product: say PRODUCT_ACCESS_KEYS, or list it in UNSAID of compose/check.py",
    ),
    "the token of development": (
        hears("cart", "CART_PRODUCT_TOKEN", None),
        "cart: say CART_PRODUCT_TOKEN, or list it in UNSAID of compose/check.py",
    ),
    "a gateway that listens where nobody comes": (
        hears("gateway", "GATEWAY_SIDE_LISTEN", None),
        "gateway: say GATEWAY_SIDE_LISTEN, or list it in UNSAID of compose/check.py",
    ),
    "a pooler without a user": (
        hears("loms-pgbouncer", "PGBOUNCER_USER", None),
        "loms-pgbouncer: say PGBOUNCER_USER, or list it in UNSAID of compose/check.py",
    ),
    "a replica without a primary": (
        hears("loms-replica", "POSTGRES_PRIMARY", None),
        "loms-replica: say POSTGRES_PRIMARY, or list it in UNSAID of compose/check.py",
    ),
    "a primary without a database": (
        hears("cart-postgres", "POSTGRES_DATABASE", None),
        "cart-postgres: say POSTGRES_DATABASE, or list it in UNSAID of compose/check.py",
    ),
    "a broker that nobody finds": (
        hears("kafka", "KAFKA_ADVERTISED", None),
        "kafka: say KAFKA_ADVERTISED, or list it in UNSAID of compose/check.py",
    ),
    "a program that is none": (
        told("cart", command=["python", "-m", "services.carts"]),
        "cart: there is no services.carts to run",
    ),
    "a setting with a wrong value": (
        hears("loms", "LOMS_PAYMENT_MINUTES", "0"),
        "loms: LOMS_PAYMENT_MINUTES='0': Input should be greater than 0",
    ),
    "a setting of the gateway with a wrong value": (
        hears("gateway", "GATEWAY_LOG_FORMAT", "text"),
        'gateway: cannot start: GATEWAY_LOG_FORMAT="text": must be one of console, json',
    ),
    "a setting that is wrong without containers only": (
        runs("loms", environment={"LOMS_STORAGE": "disk"}),
        "loms-2, without a container: LOMS_STORAGE='disk': Input should be 'memory' or 'postgres'",
    ),
    "a number of replicas that is not true": (
        hears("cart", "CART_REPLICAS", "3"),
        "cart: CART_REPLICAS is 3, but there are 2 replicas",
    ),
    "nothing about how it runs without a container": (
        without("redis-2", "x-native"),
        "redis-2: say in x-native how it runs without a container",
    ),
    "nobody who asks whether it is ready": (
        runs("redis-2", ready=None),
        "redis-2: say in x-native where it is asked whether it is ready, or why it is absent",
    ),
    "two that listen at the same port": (
        cloned("product", "catalogue"),
        "product, catalogue: all of them want port 50053 when they run without containers: change .env",
    ),
    "an address of several within a URL": (
        hears("gateway", "GATEWAY_CORS_ORIGINS", "http://loms:50052"),
        "without containers: http://loms:50052: loms has 2 replicas, so its address must stand alone",
    ),
    "what nobody can read": (
        told("cart", volumes="keys"),
        "services.cart.volumes: Input should be a valid list",
    ),
}


@pytest.mark.parametrize(("change", "finding"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(change: Callable[[Services], object], finding: str) -> None:
    found = findings(changed(change))

    assert [each for each in found if each == finding or (finding[-1] == " " and each.startswith(finding))], found


def test_what_the_compose_specification_does_not_have_is_found() -> None:
    [found] = of_compose_go(changed(told("cart", restarts="always")))

    assert found.startswith("compose-go: ")
    assert "services.cart.restarts" in found


def test_what_is_said_twice_is_found(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(FILE.read_text().replace("CART_REPLICAS: ", 'CART_REPLICAS: "1"\n      CART_REPLICAS: '))

    with pytest.raises(StartError, match="CART_REPLICAS is said twice"):
        read(file)


def test_a_port_that_nobody_uses_is_found() -> None:
    said = replace(OURS, ports={**OURS.ports, "TELNET_PORT": "23"})

    assert findings(said) == ["TELNET_PORT of .env is not used: take it away"]


def test_our_image_must_not_run_as_root(tmp_path: Path) -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(dockerfile.replace("USER 10001", ""))
    said = changed(told("cart", build={"context": str(tmp_path), "dockerfile": "Dockerfile"}))

    assert findings(said) == ["cart: needs a user that is not root"]


def test_all_mistakes_are_told_at_once_and_the_check_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compose.yaml"
    (tmp_path / ".env").write_text((FOLDER / ".env").read_text())
    for name in ("Dockerfile", "grafana", "kafka", "pgbouncer", "postgres", "prometheus"):
        (tmp_path / name).symlink_to(FOLDER / name)
    content = deepcopy(OURS.content)
    for service in content["services"].values():
        service.get("build", {}).update(context=str(tmp_path), dockerfile="Dockerfile")
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setattr("sys.argv", ["check", str(file)])

    assert (main(), capsys.readouterr().err) == (0, "")

    content["services"]["cart"]["image"] = "marketplace"
    content["services"]["loms"]["environment"]["LOMS_PORT"] = "1"
    file.write_text(yaml.safe_dump(content))

    assert main() == 1
    assert capsys.readouterr().err.splitlines() == [
        "compose.yaml: cart: say which version of marketplace it is, by a tag that is not latest",
        "compose.yaml: loms: does not know LOMS_PORT",
    ]


def test_a_file_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["check", "nowhere.yaml"])

    assert main() == 1
    assert "nowhere.yaml: " in capsys.readouterr().err


def test_every_exception_is_needed() -> None:
    services = OURS.content["services"].values()
    mounted = {volume.partition(":")[0] for service in services for volume in service.get("volumes", [])}
    variables = {name for service in services for name in service.get("environment", {})}
    programs = ("services.cart", "services.loms", "services.notifier", "services.product", "services.topics")
    fields = {field for program in programs for each in settings_of(program) for field in each.model_fields}

    assert MADE.keys() <= mounted
    assert OWN_PLACES.keys() <= variables
    assert OTHER_PORT.keys() <= OURS.content["services"].keys()
    assert UNSAID.keys() <= fields
    assert {each["image"].partition(":")[0] for each in services if "user" not in each} == {*NON_ROOT, "marketplace"}
