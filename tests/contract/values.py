"""Values at the limits of what the rules of a field allow, on both sides, as texts."""

from collections.abc import Callable, Iterable
from typing import Any

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from codegen.descriptors import rules_set
from tests.contract.contract import rules

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
UUID = "2f1c0bd4-11aa-4e4c-8f00-0123456789ab"


def _around(numbers: Iterable[int]) -> set[int]:
    return {number + step for number in numbers for step in (-1, 0, 1)}


def _words(words: Iterable[str]) -> list[str]:
    return [text for word in words for text in (word, word.upper(), f"{word}x", word[:-1])]


def _lengths(length: int) -> list[str]:
    return ["x" * size for size in _around([length]) if size >= 0]


STRINGS: dict[str, Callable[[Any], list[str]]] = {
    "const": lambda word: _words([word]),
    "in": _words,
    "not_in": _words,
    "uuid": lambda _: [UUID, UUID.upper(), UUID.replace("-", ""), UUID[:-1]],
    **dict.fromkeys(["len", "min_len", "max_len"], _lengths),
}
"""Values that tell whether a rule is kept."""


def allows(field: FieldDescriptor, value: str | None) -> bool:
    """Whether a message may have this value in the field. None: whether it may have none."""
    assert field.containing_type
    message = GetMessageClass(field.containing_type)()
    try:
        if value is not None:
            setattr(message, field.name, int(value) if field.cpp_type in INTEGERS else value)
    except ValueError:
        return False
    violations: Any = protovalidate.collect_violations(message)
    paths = [violation.proto.field.elements for violation in violations if violation.proto.field]
    return field.name not in {path[0].field_name for path in paths}


def values(field: FieldDescriptor) -> list[str]:
    """Values that the rules of the field allow, and values next to them that they do not.

    Of a message there are none: it is there or not. Fails where a rule is not known.
    """
    assert not field.is_repeated, f"{field.full_name}: no values of a list are known here"
    kind = rules(field).WhichOneof("type")
    others = {rule.name for rule, _ in rules_set(rules(field))} - {kind, "required"}
    assert not others, f"{field.full_name}: no values are known here for the rules {others}"
    settings = {rule.name: setting for rule, setting in rules_set(getattr(rules(field), kind) if kind else None)}
    if field.cpp_type in INTEGERS:
        return _integers(field, settings)
    return _strings(field, settings)


def _integers(field: FieldDescriptor, settings: dict[str, Any]) -> list[str]:
    lists = [[setting] if isinstance(setting, int) else setting for setting in settings.values()]
    numbers = _around([0, *INTEGERS[field.cpp_type], *(number for numbers in lists for number in numbers)])
    return [str(number) for number in sorted(numbers)]


def _strings(field: FieldDescriptor, settings: dict[str, Any]) -> list[str]:
    unknown = settings.keys() - (STRINGS.keys() if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else ())
    assert not unknown, f"{field.full_name}: no values are known here for the rules {unknown}"
    if field.message_type is not None:
        return []
    return ["", "x", *(text for name, setting in settings.items() for text in STRINGS[name](setting))]
