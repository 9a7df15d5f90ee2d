"""Writes a service as the files of `template` show it, and its lines into the files that list the services.

There the service is called sample, Sample or SAMPLE, and has the ports 50050 and 9100; in the stack, its PostgreSQL
has 5440 and its PgBouncer 6440. Nothing else is replaced.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from codegen.service.wiring import WIRING

ROOT = Path(__file__).parents[2]
TEMPLATE = Path(__file__).parent / "template"
RUFF = Path(sys.executable).with_name("ruff")
QUIETLY = ("--quiet", "--config", "lint.isort.known-first-party = ['services', 'tests']")
"""Modules that are not there yet are ours, too."""

PORT, SIDE_PORT = "50050", "9100"
POSTGRES_PORT, PGBOUNCER_PORT = "5440", "6440"
PLACEHOLDER = re.compile(f"sample|Sample|SAMPLE|{PORT}|{SIDE_PORT}|{POSTGRES_PORT}|{PGBOUNCER_PORT}")
LISTEN = re.compile(r'listen: Address = "127\.0\.0\.1:(\d+)"')
LAST_SIDE_PORT = 9110
"""Behind it are those of further replicas."""

Values = dict[str, str]
"""What stands for each placeholder."""
Texts = dict[Path, str]


class ScaffoldError(Exception):
    """It cannot be done, and nothing was changed."""


def add(name: str) -> list[str]:
    """Writes the service; tells of each file. Raises ScaffoldError."""
    values = _values(name, *_next_ports())
    written, edited = _written(values), _with_lines(values)
    for file, text in (written | edited).items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return [*_told("wrote", written), *_told("edited", edited)]


def remove(name: str, *, force: bool = False) -> list[str]:
    """Takes away what `add` has written; tells of each file. With `force` also what was changed since.

    Raises ScaffoldError when something was changed and it is not forced, or when `add` has not made the service.
    """
    values = _values(name, *_ports_of(name))
    written = _written(values)
    edited, changed = _without_lines(values)
    own = [*written, *(file for file in _own_files(name) if file not in written)]
    changed += [file for file in own if not file.is_file() or file.read_text() != written.get(file)]
    if written.keys() <= {*changed}:
        raise ScaffoldError(f"NAME={name}: `make service` has not made it")
    if changed and not force:
        listed = "\n".join(dict.fromkeys(_told("", changed)))
        raise ScaffoldError(f"NAME={name}: FORCE=1 takes away what was changed since it was made:\n{listed}")
    for file in written:
        file.unlink(missing_ok=True)
    for folder in _own_folders(name):
        shutil.rmtree(folder, ignore_errors=True)
    for file, text in edited.items():
        file.write_text(text)
    return [*_told("removed", own), *_told("edited", edited)]


def files_of(name: str) -> list[Path]:
    """The files that the service has."""
    return [target for _, target in _files(name)]


def _files(name: str) -> list[tuple[Path, Path]]:
    """Each file of the template, and what becomes of it."""
    sources = sorted(file for file in TEMPLATE.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return [(file, ROOT / str(file.relative_to(TEMPLATE)).replace("sample", name)) for file in sources]


def _own_folders(name: str) -> list[Path]:
    return [ROOT / folder / name for folder in ("api/marketplace", "services", "sql")]


def _own_files(name: str) -> list[Path]:
    found = [file for folder in _own_folders(name) for file in folder.rglob("*")]
    return [file for file in found if file.is_file() and file.suffix != ".pyc"]


def _values(name: str, port: str, side_port: str) -> Values:
    names = {"sample": name, "Sample": name.capitalize(), "SAMPLE": name.upper()}
    number = int(port) - int(PORT)
    of_the_stack = {each: str(int(each) + number) for each in (POSTGRES_PORT, PGBOUNCER_PORT)}
    return names | {PORT: port, SIDE_PORT: side_port} | of_the_stack


def _filled(text: str, values: Values) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[0]], text)


def _written(values: Values) -> Texts:
    """The files of the service."""
    return {
        target: _formatted(target, _filled(source.read_text(), values)) for source, target in _files(values["sample"])
    }


def _with_lines(values: Values) -> Texts:
    """The files that list the services, with this one."""
    texts: Texts = {}
    for lines in WIRING:
        file = ROOT / lines.file
        text = texts.get(file) or file.read_text()
        if lines.before and text.count(lines.before) != 1:
            raise ScaffoldError(f"{lines.file} lists the services in another way: it should have once\n{lines.before}")
        place = text.index(lines.before) if lines.before else len(text)
        texts[file] = text[:place] + _filled(lines.text, values) + text[place:]
    return {file: _formatted(file, text) for file, text in texts.items()}


def _without_lines(values: Values) -> tuple[Texts, list[Path]]:
    """The files that list the services, without this one, and for each of its lines that are not there their file."""
    texts: Texts = {}
    missing = []
    for lines in WIRING:
        file = ROOT / lines.file
        text = texts.get(file) or file.read_text()
        texts[file] = text.replace(_filled(lines.text, values), "", 1)
        if texts[file] == text:
            missing.append(file)
    return texts, missing


def _formatted(file: Path, text: str) -> str:
    """As `make fmt` leaves it: the order of imports depends on the name."""
    if file.suffix != ".py":
        return text
    for command in (["check", "--select", "I", "--fix-only"], ["format"]):
        ruff: list[str | Path] = [RUFF, *command, *QUIETLY, "--stdin-filename", file, "-"]
        text = subprocess.run(ruff, input=text, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return text


def _next_ports() -> tuple[str, str]:
    """Those behind the highest ports that a service and the gateway have."""
    mains = (ROOT / "services").rglob("__main__.py")
    taken = [int(port) for main in mains for port in LISTEN.findall(main.read_text())]
    port = 1 + max(port for port in taken if port > int(PORT))
    side_port = 1 + max(port for port in taken if int(SIDE_PORT) < port <= LAST_SIDE_PORT)
    if side_port > LAST_SIDE_PORT:
        raise ScaffoldError(f"the side ports up to {LAST_SIDE_PORT} are taken")
    return str(port), str(side_port)


def _ports_of(name: str) -> tuple[str, str]:
    main = ROOT / "services" / name / "__main__.py"
    if main not in (ROOT / "services").glob("*/__main__.py"):
        raise ScaffoldError(f"NAME={name}: there is no such service")
    port, side_port, *_ = *LISTEN.findall(main.read_text()), PORT, SIDE_PORT
    return port, side_port


def _told(verb: str, files: Texts | list[Path]) -> list[str]:
    return [f"{verb} {file.relative_to(ROOT)}".strip() for file in files]
