"""Refuses what needs a session of its own where a pooler may be in between: `python -m codegen.sessions`.

A service works through `<SERVICE>_DATABASE_URL`, which may lead through PgBouncer in
transaction mode: the next transaction may meet another session, and whoever comes next
meets what was left in this one. What needs a session goes through `<SERVICE>_DATABASE_DIRECT_URL`,
in the modules of EXEMPT.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

EXEMPT = {
    "services/chassis/bell.py": "it listens on a connection of its own, past every pooler",
    "services/chassis/migrations.py": "it migrates on a connection of its own, past every pooler",
}
"""The modules that may need a session, and why."""

SQL = "sql/*/queries/*.sql"
PYTHON = "services/**/*.py"


@dataclass(frozen=True, order=True)
class Finding:
    """Something that needs a session."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


Found = Iterator[tuple[int, str]]
"""Lines and reasons."""

_TEMPORARY = "a temporary table belongs to a session"
_STATEMENT = r"(?:\A|;|\bBEGIN\b)\s*"
_RULES = {
    _STATEMENT + r"(?P<at>(?:UN)?LISTEN)\s": "LISTEN: notifications come to a session",
    _STATEMENT + r"(?P<at>SET)\s+(?!(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)(?:\S|\Z)": (
        "SET lasts until the session ends: write SET LOCAL"
    ),
    _STATEMENT + r"(?P<at>RESET)\s": "RESET changes a session",
    _STATEMENT + r"(?P<at>DISCARD)\s": "DISCARD changes a session",
    _STATEMENT + r"(?P<at>LOAD)\s+'": "LOAD changes a session",
    _STATEMENT + r"(?P<at>PREPARE)\s+(?!TRANSACTION\b)(?:\S|\Z)": "PREPARE: a prepared statement belongs to a session",
    _STATEMENT + r"(?P<at>DEALLOCATE)\s": "DEALLOCATE: a prepared statement belongs to a session",
    r"\b(?P<at>CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?)\s": _TEMPORARY,
    r"(?<!INSERT\s)(?<!MERGE\s)\b(?P<at>INTO\s+TEMP(?:ORARY)?)\s": _TEMPORARY,
    r"\b(?P<at>(?i:pg_temp))\s*\.": _TEMPORARY,
    r"\b(?P<at>WITH\s+HOLD)\s+FOR\b": "a cursor WITH HOLD belongs to a session",
    r"\b(?P<at>(?i:pg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?))\s*\(": (
        "this advisory lock is held by a session: take one with _xact_"
    ),
    r"\b(?P<at>(?i:set_config))\s*\((?!(?:[^()]|\([^()]*\))*,\s*(?i:true)\s*\))": (
        "set_config lasts until the session ends unless its third argument is true"
    ),
}
"""What a statement may not hold, and why. `at` is where it is."""

_ATTRIBUTES = {
    "add_listener": "add_listener: notifications come to a session",
    "prepare": "prepare: a prepared statement belongs to a session",
    "set_type_codec": "set_type_codec is for a session",
    "set_builtin_type_codec": "set_builtin_type_codec is for a session",
    "copy_records_to_table": "copy_records_to_table prepares a statement, which belongs to a session",
    "copy_to_table": "copy_to_table prepares a statement, which belongs to a session",
}
"""What of asyncpg is not to be used, and why."""

_EXECUTING = {"cursor", "execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval", "copy_from_query"}
"""The methods of asyncpg whose first argument is a statement."""

_HARMLESS_SETTINGS = {"application_name"}
_SETTINGS = f"server_settings are those of a session; only {', '.join(_HARMLESS_SETTINGS)} may be set"
_COPYFROM = re.compile(r"\bname: \w+ :copyfrom\b")

_NO_CODE = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
    |(?P<quoted>"[^"]*"|\b[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')
    |(?P<body>\$[a-zA-Z_]*\$)
    """,
    re.DOTALL | re.VERBOSE,
)


def sources(root: Path) -> list[Path]:
    """The files to look through."""
    return sorted([*root.glob(SQL), *root.glob(PYTHON)])


def findings(root: Path, exempt: Mapping[str, str] = EXEMPT) -> list[Finding]:
    """What needs a session and is not exempt, and every exemption that exempts nothing."""
    found = [
        Finding(path.relative_to(root).as_posix(), *each)
        for path in sources(root)
        for each in (of_queries if path.suffix == ".sql" else of_module)(path.read_text())
    ]
    unused = exempt.keys() - {finding.path for finding in found}
    idle = [Finding(path, 1, f"exempt, as {exempt[path]}, but nothing here needs a session") for path in unused]
    return sorted({*idle, *(finding for finding in found if finding.path not in exempt)})


def of_queries(sql: str) -> Found:
    """What of a file of queries needs a session."""
    yield from _of_statements(sql, re.IGNORECASE)
    for match in _COPYFROM.finditer(sql):
        yield _line(sql, match.start()), f":copyfrom: {_ATTRIBUTES['copy_records_to_table']}"


def of_module(source: str) -> Found:
    """What of a Python module needs a session.

    A text that is not executed on the spot is taken for SQL where its keywords are in capitals.
    """
    tree = ast.parse(source)
    yield from _of_uses(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    executed = {id(call.args[0]) for call in calls if _is_executing(call)}
    for node in (node for node in _code(tree) if isinstance(node, ast.Constant | ast.JoinedStr)):
        flags = re.IGNORECASE if id(node) in executed else re.NOFLAG
        found = _of_statements(_text(node), flags)
        yield from ((node.lineno + line - 1, reason) for line, reason in found)


def _of_uses(tree: ast.AST) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
            yield node.end_lineno or node.lineno, _ATTRIBUTES[node.attr]
        elif isinstance(node, ast.keyword) and node.arg == "server_settings" and not _is_harmless(node.value):
            yield node.lineno, _SETTINGS


def _of_statements(sql: str, flags: re.RegexFlag) -> Found:
    code = _NO_CODE.sub(_without_text, sql)
    for pattern, reason in _RULES.items():
        for match in re.finditer(pattern, code, flags):
            yield _line(code, match.start("at")), reason


def _without_text(match: re.Match[str]) -> str:
    """As long as it was and with its lines, so that what comes after it stays where it is."""
    blank = re.sub(r"[^\n]", " ", match[0])
    if match["comment"]:
        return blank
    return f"'{blank[1:-1]}'" if match["quoted"] else f";{blank[1:]}"


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module but for its docstrings and the pieces of its f-strings."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        if isinstance(node, ast.JoinedStr):
            yield from (each for value in node.values if isinstance(value, ast.FormattedValue) for each in _code(value))
        else:
            yield from _code(node)


def _text(node: ast.expr) -> str:
    """The text of a string; in that of an f-string each value is a 0."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) if isinstance(value, ast.Constant) else "0" for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_executing(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in _EXECUTING and bool(call.args)


def _is_harmless(settings: ast.expr) -> bool:
    return isinstance(settings, ast.Dict) and all(
        isinstance(key, ast.Constant) and key.value in _HARMLESS_SETTINGS for key in settings.keys
    )


def main() -> int:
    found = findings(ROOT)
    sys.stderr.writelines(f"{finding}\n" for finding in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
