"""Requests made from the rules of the contract: right ones, those at a limit, and such as break one rule or two."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from buf.validate import validate_pb2
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_T = TypeVar("_T")

_FAMILIAR = {
    "sku": [139275865, 139275865, 1625903, 1625903, 1076963, 139819069, 404],  # the last two cannot be had
    "user_id": [1, 2],
    "order_id": list(range(1, 40)),
    "count": [1, 2],
}
_NOT_UUIDS = ["", "x", "2f1c0bd4-11aa-4e4c-8f00-0123456789a", "2f1c0bd411aa4e4c8f000123456789ab", "é" * 36]
_UUIDS = [f"2f1c0bd4-11aa-4e4c-8f00-0123456789{digits}" for digits in ("ab", "AB", *range(10, 99))]
_UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32: 32, FieldDescriptor.CPPTYPE_UINT64: 64}
_SIGNED = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}


@dataclass(frozen=True)
class Request:
    """A call of an RPC, and one of its places in HTTP for it."""

    method: MethodDescriptor
    rule: http_pb2.HttpRule
    message: Message


def requests(methods: list[MethodDescriptor]) -> st.SearchStrategy[Request]:
    """Calls of these RPCs through each of their bindings."""
    each = [_requests(method, rule) for method in methods for rule in _rules(method)]
    return _any_of(each)


def _rules(method: MethodDescriptor) -> Iterator[http_pb2.HttpRule]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    yield rule
    yield from rule.additional_bindings


def _requests(method: MethodDescriptor, rule: http_pb2.HttpRule) -> st.SearchStrategy[Request]:
    message = _messages(method.input_type)
    return message.map(lambda fields: Request(method, rule, GetMessageClass(method.input_type)(**fields)))


def _messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Half of them right."""
    return _any_of([_right(descriptor), _any_of(_wrong(descriptor))])


def _right(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    return _fields(descriptor, ())


def _wrong(descriptor: Descriptor) -> list[st.SearchStrategy[dict[str, Any]]]:
    """Messages of which one field, or two, break their rules: a strategy for every choice of those."""
    names = [field.name for field in descriptor.fields]
    return [_fields(descriptor, broken) for number in (1, 2) for broken in combinations(names, number)]


def _fields(descriptor: Descriptor, broken: Collection[str]) -> st.SearchStrategy[dict[str, Any]]:
    values = {field.name: _values(field, is_broken=field.name in broken) for field in descriptor.fields}
    given = st.fixed_dictionaries(values)
    return given.map(lambda found: {name: value for name, value in found.items() if value is not None})


def _values(field: FieldDescriptor, *, is_broken: bool) -> st.SearchStrategy[Any]:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    found: st.SearchStrategy[Any]
    if field.is_repeated:
        found = _lists(field, rules.repeated, is_broken=is_broken)
    elif field.cpp_type == field.CPPTYPE_STRING:
        found = st.sampled_from(_NOT_UUIDS if is_broken else _UUIDS)
    else:
        kind = rules.WhichOneof("type")
        found = _integers(field, getattr(rules, kind) if kind else None, is_broken=is_broken)
    return found | st.none() if field.has_presence and not is_broken else found


def _lists(field: FieldDescriptor, rules: Any, *, is_broken: bool) -> st.SearchStrategy[list[Any]]:
    assert field.message_type
    right = _right(field.message_type)
    if not is_broken:
        return st.lists(right, min_size=rules.min_items, max_size=3) | right.map(lambda one: [one] * rules.max_items)
    wrong = st.one_of(_wrong(field.message_type))
    too_long = right.map(lambda one: [one] * (rules.max_items + 1))
    return st.one_of(st.just([]), too_long, st.tuples(right, wrong).map(list), st.tuples(wrong).map(list))


def _integers(field: FieldDescriptor, rules: Any, *, is_broken: bool) -> st.SearchStrategy[int]:
    least, most = _range(field)
    low, high = _limits(rules, least, most)
    if is_broken:
        outside = [number for number in (least, low - 1, high + 1, most) if not low <= number <= high]
        return st.sampled_from([number for number in outside if least <= number <= most] or [low])
    limits = st.sampled_from(sorted({low, low + 1, high - 1, high}))
    familiar = st.sampled_from(_FAMILIAR.get(field.name) or [low, min(low + 1, high)])
    return _any_of([familiar] * 8 + [limits, st.integers(low, high)])


def _limits(rules: Any, least: int, most: int) -> tuple[int, int]:
    """The least and the most that the rules leave of a range."""
    lower, upper = (rules.WhichOneof(name) if rules is not None else None for name in ("greater_than", "less_than"))
    low = getattr(rules, lower) + (lower == "gt") if lower else least
    high = getattr(rules, upper) - (upper == "lt") if upper else most
    return low, high


def _range(field: FieldDescriptor) -> tuple[int, int]:
    if field.cpp_type in _UNSIGNED:
        return 0, 2 ** _UNSIGNED[field.cpp_type] - 1
    bits = _SIGNED[field.cpp_type]
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _any_of(strategies: list[st.SearchStrategy[_T]]) -> st.SearchStrategy[_T]:
    """Each as often as it is in the list. `st.one_of` would make one list of all that they choose from."""
    return st.sampled_from(strategies).flatmap(lambda strategy: strategy)
