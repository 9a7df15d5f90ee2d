"""Names of Python for names of SQL."""

import keyword
import re
from collections import Counter
from collections.abc import Iterable

from codegen.sqlc.errors import GenerationError

_SINGULARS = [
    (re.compile(plural, re.IGNORECASE), singular)
    for plural, singular in [
        (r"((?:^|_)(?:equipment|information|metadata|meta|money|news|rice|series|species|campus|fish|sheep))$", r"\1"),
        (r"(^|_)people$", r"\1person"),
        (r"(^|_)men$", r"\1man"),
        (r"(child)ren$", r"\1"),
        (r"(^|_)([ml])ice$", r"\1\2ouse"),
        (r"(database)s$", r"\1"),
        (r"(quiz)zes$", r"\1"),
        (r"(matr)ices$", r"\1ix"),
        (r"(vert|ind)ices$", r"\1ex"),
        (r"(alias|status|bus|virus|octopus)(?:es)?$", r"\1"),
        (r"(cris|ax|test|analy|ba|diagno|parenthe|progno|synop|the)(?:sis|ses)$", r"\1sis"),
        (r"(shoe|movie|cookie|calorie)s$", r"\1"),
        (r"(^|_)(ox)en$", r"\1\2"),
        (r"(o)es$", r"\1"),
        (r"(x|ch|ss|sh|zz)es$", r"\1"),
        (r"([^aeiouy]|qu)ies$", r"\1y"),
        (r"(wi|li|kni)ves$", r"\1fe"),
        (r"([lr]|hoo|lea|loa|thie)ves$", r"\1f"),
        (r"([ti])a$", r"\1um"),
        (r"(ss|us|is)$", r"\1"),
        (r"s$", ""),
    ]
]
"""Endings of English plurals, the first that fits counts. After github.com/jinzhu/inflection, which sqlc uses."""

_OF_TYPES = {"Decimal", "UUID", "bool", "bytes", "datetime", "float", "int", "list", "models", "str"}
"""What annotations name: in a class, a field or a method of that name would hide the type."""
_OF_METHODS = {"each", "models", "row", "self", "status_tag", "value"}
"""What the body of a method names."""


def singular(name: str, exclusions: Iterable[str] = ()) -> str:
    """The name of one row of the table."""
    if name.lower() in {each.lower() for each in exclusions}:
        return name
    for plural, one in _SINGULARS:
        if plural.search(name):
            return plural.sub(one, name)
    return name


def class_name(name: str) -> str:
    """`order_items` is `OrderItems`."""
    words = re.split(r"[\W_]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return f"_{joined}" if joined[:1].isdigit() else joined


def snake_case(name: str) -> str:
    """`GetOrder` is `get_order`."""
    parts = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", parts).lower()


def identifier(name: str) -> str:
    """The name of a field or a method, as near as Python allows: `class` is `class_`, `delivery day` is
    `delivery_day`.
    """
    return _other_than(_OF_TYPES, _legal(name))


def parameter(name: str) -> str:
    """Likewise the name of a parameter."""
    return _other_than(_OF_METHODS, _legal(name))


def constant(value: str) -> str:
    """The name of a value of an enum: `awaiting payment` is AWAITING_PAYMENT."""
    words = re.sub(r"\W+", "_", value).strip("_").upper()
    return f"VALUE_{words}" if not words or words[0].isdigit() else words


def distinct(names: Iterable[str]) -> list[str]:
    """The names; one that comes again gets a number: `sku`, `sku_2`."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return numbered


def check_distinct(names: Iterable[str]) -> None:
    """Raises GenerationError for a name that two things would have."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise GenerationError(f"two of them would have the name {twice[0]} in Python")


def _legal(name: str) -> str:
    legal = re.sub(r"\W+", "_", name)
    return f"_{legal}" if legal[:1].isdigit() else legal


def _other_than(taken: set[str], name: str) -> str:
    return f"{name}_" if name in taken or keyword.iskeyword(name) else name
