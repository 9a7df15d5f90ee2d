"""The README says what is true: its commands answer as shown, its steps lead somewhere, its tables are complete."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from compose.monitoring import PrometheusSettings, ZipkinSettings
from services.__main__ import AllSettings, GatewaySettings, MarketplaceSettings
from services.chassis.settings import DatabaseSettings, ServiceSettings, Settings
from services.replication import AdminSettings
from services.topics import TopicSettings
from tests.marketplace import ROOT, healthy_marketplace
from tests.project import copy_of_the_project, run

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
MYPY = (sys.executable, "-m", "mypy")
PYTEST = (sys.executable, "-m", "pytest", "-q")
PUBLIC_URL = "http://127.0.0.1:8080"


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in code.splitlines()) for indent, code in found]


def console() -> list[tuple[str, str]]:
    """The commands that it shows, each with its output."""
    return [
        (command, output)
        for block in blocks("console")
        for command, output in re.findall(r"^\$ (.*)\n(.*)$", block, re.MULTILINE)
    ]


def test_every_command_answers_what_the_readme_shows(tmp_path: Path) -> None:
    shown = console()
    assert len(shown) > 8
    with healthy_marketplace(tmp_path / "log") as marketplace:
        for command, output in shown:
            arguments = shlex.split(command.replace(PUBLIC_URL, marketplace.url))
            answer = subprocess.run(arguments, capture_output=True, check=True, text=True)
            assert answer.stdout == output, command


@pytest.mark.timeout(120)
def test_the_steps_add_an_rpc(tmp_path: Path) -> None:
    recipe = README[README.index("## Add an RPC") : README.index("## Targets")]
    (rpc, messages), (method, test) = blocks("proto", recipe), blocks("python", recipe)
    project = copy_of_the_project(tmp_path / "project")

    contract = project / "api/marketplace/product/v1/product.proto"
    servicer = project / "services/product/servicer.py"
    servicer.write_text(servicer.read_text().replace(method, ""))  # if somebody has followed the README
    edit(contract, rpc, lambda text: text.replace("\n}\n", f"\n\n{rpc}\n}}\n", 1))
    edit(contract, messages, lambda text: f"{text}\n{messages}\n")
    run(project, project / ".venv/bin/buf", "generate")
    forgotten = run(project, *MYPY, "services", expect=1)
    edit(servicer, method, lambda text: f"{text}\n{method}\n")
    edit(project / "tests/rpc/test_product.py", test, lambda text: f"{text}\n\n{test}\n")
    run(project, project / ".venv/bin/buf", "lint")
    run(project, project / ".venv/bin/buf", "format", "--diff", "--exit-code", "api")
    run(project, *MYPY, "services", "tests/rpc")
    contract_tests = ("tests/contract/test_policies.py", "tests/contract/test_errors.py")
    passed = run(project, *PYTEST, "tests/rpc/test_product.py", *contract_tests, "-k", "price_can or contract")

    assert 'abstract attribute "GetPrice"' in forgotten
    assert re.search(r"\d\d passed", passed)
    assert "/product/{sku}/price" in json.loads((project / "gen/openapi/openapi.json").read_text())["paths"]


def edit(file: Path, new: str, put: Callable[[str], str]) -> None:
    """Puts what is new into the file, unless somebody who followed the README has done so."""
    text = file.read_text()
    if new.strip() not in text:
        file.write_text(put(text))


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by their first cell."""
    section = README[README.index(f"## {heading}\n") :].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_table_of_targets_is_what_make_prints() -> None:
    targets = {f"make {name}": [text] for name, text in re.findall(r"^([a-z/-]+):.*## (.*)$", MAKEFILE, re.MULTILINE)}
    assert rows("Targets") == targets


OF_THE_PARTS = [part for part in get_type_hints(AllSettings).values() if part is not GatewaySettings]
ALL_SETTINGS: tuple[type[Settings], ...] = (
    *OF_THE_PARTS,
    AdminSettings,
    TopicSettings,
    PrometheusSettings,
    ZipkinSettings,
)
COMMON = {
    **dict.fromkeys(set(DatabaseSettings.model_fields) - set(ServiceSettings.model_fields), "<STATEFUL>"),
    **dict.fromkeys(set(ServiceSettings.model_fields) - {"listen", "side_listen"}, "<SERVICE>"),
}


def shown_default(settings: type[Settings], field: str) -> str:
    default = settings.model_fields[field].get_default()
    if default in (None, PydanticUndefined):
        return ""
    return str(default.get_secret_value() if isinstance(default, SecretStr) else default)


def test_the_table_of_settings_has_each_setting_with_its_default() -> None:
    expected = {}
    for settings in ALL_SETTINGS:
        for field in settings.model_fields:
            variable = settings.variable(field)
            if field in COMMON and settings is not MarketplaceSettings:
                variable = f"{COMMON[field]}_{field.upper()}"
            expected[variable] = shown_default(settings, field)
    documented = {variable: cells[0].strip("`") for variable, cells in rows("Settings").items()}

    of_others = ("GATEWAY_", "OTEL_")
    assert {name: value for name, value in documented.items() if not name.startswith(of_others)} == expected


def test_the_table_of_settings_has_those_of_the_gateway() -> None:
    gateway = "".join(
        file.read_text() for file in (ROOT / "services/gateway").glob("[!_]*.go") if "_test" not in file.name
    )
    defaults = dict(re.findall(r'"(GATEWAY_[A-Z_]+)", "([^"]*)"', gateway)) | {"GATEWAY_CORS_ORIGINS": ""}
    documented = {name: cells[0].strip("`") for name, cells in rows("Settings").items() if name.startswith("GATEWAY_")}

    assert set(documented) == set(re.findall(r'"(GATEWAY_[A-Z_]+)"', gateway))
    assert {name: documented[name] for name in defaults} == defaults


def test_every_file_that_the_readme_links_exists() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
