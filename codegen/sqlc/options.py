"""The options of the plugin in sqlc.yaml. They have the names that sqlc-gen-python gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from codegen.sqlc.errors import GenerationError, inside

_ONLY = {
    "emit_async_querier": True,
    "emit_sync_querier": False,
    "emit_str_enum": True,
    "emit_pydantic_models": False,
}
"""Options of sqlc-gen-python that have one value here: there is nothing else to choose."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen."""

    package: str
    """The Python package that the modules are imported from."""
    emit_exact_table_names: bool = False
    """Whether the class of the table `orders` is `Orders`, not `Order`."""
    inflection_exclude_table_names: tuple[str, ...] = ()
    """Tables whose name is singular already, though it does not look so."""
    query_parameter_limit: int = 4
    """A query with more parameters takes them in one object; with 0 every query does."""
    emit_iterators: bool = False
    """Whether a `:many` also gets a method that iterates over a cursor. sqlc-gen-python has no such option."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """PostgreSQL types and the Python types that the codecs of the connection make of them, as in
    `[{db_type: ltree, py_type: str}]`. Values are passed on as they are.
    """

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Raises GenerationError for an option that is not known, or has a value that it cannot have."""
        with inside("options"):
            for name, value in found.items():
                _check(name, value)
            if "package" not in found:
                raise GenerationError("package is missing: it is where the modules are imported from")
        chosen = {name: _READ[name][2](value) for name, value in found.items() if name not in _ONLY}
        return cls(**chosen)


def _check(name: str, value: Any) -> None:
    if name not in _ONLY | _READ:
        raise GenerationError(f"{name} is not known")
    if name in _ONLY and value is not _ONLY[name]:
        raise GenerationError(f"{name}: {str(value).lower()} is not supported")
    if name in _READ and not _READ[name][1](value):
        raise GenerationError(f"{name} must be {_READ[name][0]}")


def _is_package(value: Any) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_overrides(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and each.keys() == {"db_type", "py_type"}
        and isinstance(each["db_type"], str)
        and _is_package(each["py_type"])
        for each in value
    )


def _overrides(value: list[dict[str, str]]) -> dict[str, str]:
    return {each["db_type"]: each["py_type"] for each in value}


_READ: dict[str, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    "package": ("the name of a Python package", _is_package, str),
    "emit_exact_table_names": ("true or false", _is_bool, bool),
    "inflection_exclude_table_names": ("a list of names", _are_names, tuple),
    "query_parameter_limit": ("a number, 0 or more", _is_limit, int),
    "emit_iterators": ("true or false", _is_bool, bool),
    "overrides": ("a list of {db_type: name, py_type: name}", _are_overrides, _overrides),
}
"""What a value of an option must be, whether it is, and what becomes of it."""
