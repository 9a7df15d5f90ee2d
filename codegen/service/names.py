"""What a service may be called: its name becomes a package, a module, a database, a route and a prefix of settings."""

import builtins
import io
import keyword
import re
import tokenize
from pathlib import Path

from codegen.service.scaffold import ROOT, TEMPLATE, ScaffoldError, files_of

LONGEST = 20
OF_POSTGRES = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral leading
    left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing
    primary references returning right select similar some symmetric table tablesample then to trailing true union
    unique user using variadic verbose when where window with
    pg pgbouncer postgres template0 template1
"""
"""The words that PostgreSQL reserves (pg_get_keywords), databases that are there, and the prefix of its own roles."""
OF_PYTHON = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
OF_GO = {"internal", "vendor"}
PREFIXES = {"gateway", "marketplace", "otel", "prometheus", "zipkin"}

BESIDE = (
    ROOT / "services" / "__main__.py",
    TEMPLATE / "services" / "sample" / "__main__.py",
    TEMPLATE / "tests" / "rpc" / "test_sample.py",
)
"""The modules in which the name stands among others."""


def check_name(name: str) -> None:
    """Raises ScaffoldError with the reason if no service can be called that."""
    reasons = {
        f"it must be a word of at most {LONGEST} small letters and digits": not _is_word(name),
        "there is one already": any((ROOT / path).exists() for path in (f"services/{name}", f"services/{name}.py")),
        "it is a word of PostgreSQL": name in OF_POSTGRES.split(),
        "it is a word of Python": name in OF_PYTHON,
        "it is a word of Go": name in OF_GO,
        "there are settings that begin with it": name in PREFIXES,
        f"there are routes that begin with /{name}": name in _first_segments(),
        "its code has another use for this word": any(name in _words(file) for file in BESIDE),
        "there are files of this name": any(file.exists() for file in files_of(name)),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ScaffoldError(f"NAME={name}: {reason}")


def _is_word(name: str) -> bool:
    return re.fullmatch("[a-z][a-z0-9]*", name) is not None and len(name) <= LONGEST


def _first_segments() -> set[str]:
    contracts = (ROOT / "api" / "marketplace").rglob("*.proto")
    return {segment for file in contracts for segment in re.findall(r'"/(\w+)', file.read_text())}


def _words(file: Path) -> set[str]:
    """Every name and keyword of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}
