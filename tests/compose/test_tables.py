"""The table of the README has each service of the stack: its image, its ports, and how it runs without containers."""

import re

from compose.check import Container, Containers, read
from compose.stack import FILE
from tests.e2e.test_readme import README, rows
from tests.marketplace import ROOT

SECTION = "The whole stack"
SERVICES = Containers.model_validate(read(FILE).filled).services


def ports(service: Container) -> set[str]:
    """Where it listens, in bold what is published."""
    published = {int(port.rpartition(":")[2]) for port in service.ports}
    return {f"**{port}**" if port in published else str(port) for port in service.listens}


def test_the_table_has_each_service_once() -> None:
    section = README[README.index(f"## {SECTION}\n") :].split("\n## ")[0]

    assert sorted(re.findall(r"^\| `([\w-]+)` ", section, re.MULTILINE)) == sorted(SERVICES)


def test_the_table_has_the_images_with_their_tags() -> None:
    shown = {name: cells[0].strip("`") for name, cells in rows(SECTION).items()}

    assert shown == {name: service.image for name, service in SERVICES.items()}


def test_the_table_has_the_ports_and_tells_which_are_published() -> None:
    shown = {name: set(filter(None, cells[2].split(", "))) for name, cells in rows(SECTION).items()}

    assert shown == {name: ports(service) for name, service in SERVICES.items()}


def test_the_table_tells_how_many_replicas_there_are() -> None:
    shown = {name: found[1] for name, cells in rows(SECTION).items() if (found := re.search(r"(\d+) repl", cells[1]))}
    replicas = {name: service.deploy.replicas for name, service in SERVICES.items()}

    assert shown == {name: str(count) for name, count in replicas.items() if count > 1}


def test_the_table_tells_what_is_absent_without_containers() -> None:
    shown = {name for name, cells in rows(SECTION).items() if cells[3] == "absent"}
    ours = {name: cells[3].strip("`") for name, cells in rows(SECTION).items() if SERVICES[name].build}

    assert shown == {name for name, service in SERVICES.items() if service.native.absent}
    assert ours == {name: " ".join(service.command) for name, service in SERVICES.items() if service.build}


def test_the_tag_of_our_image_is_the_version_of_the_project() -> None:
    [version] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert {service.image for service in SERVICES.values() if service.build} == {f"marketplace:{version}"}
