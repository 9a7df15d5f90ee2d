"""Events as JSON: the fields of a flat message under the names of the .proto.

Unlike proto JSON a 64-bit integer is a number, and a time always has its
milliseconds: `{"order_id": 5, "status": "new", "moment": "2026-01-02T03:04:05.678Z"}`.
"""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

M = TypeVar("M", bound=Message)

_to_text = json.JSONEncoder(ensure_ascii=False).encode

Field = Any  # a FieldDescriptor: the two implementations of it have no common type
TIMESTAMP = Timestamp.DESCRIPTOR.full_name


class EventError(ValueError):
    """The bytes are not an event of this type."""


def encode(event: Message) -> bytes:
    """The event as JSON, every field in the order of the .proto."""
    fields = {
        name: _moment(getattr(event, name)) if is_timestamp else getattr(event, name)
        for name, is_timestamp in _fields(event.DESCRIPTOR)
    }
    return _to_text(fields).encode()


def decode(event_type: type[M], value: bytes) -> M:
    """The event in the bytes. Raises EventError unless they hold exactly its fields with the right types."""
    try:
        given = json.loads(value, object_pairs_hook=_without_repetition)
    except EventError:
        raise
    except (ValueError, RecursionError) as error:
        raise EventError("not JSON") from error
    if not isinstance(given, dict):
        raise EventError("not a JSON object")
    fields = event_type.DESCRIPTOR.fields_by_name
    if set(given) != set(fields):
        raise EventError(f"the fields are {sorted(given)}, not {sorted(fields)}")
    event = event_type()
    for name, text_or_number in given.items():
        _set(event, fields[name], text_or_number)
    return event


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise EventError("a field is there twice")
    return given


def _set(event: Message, field: Field, value: object) -> None:
    read = _from_json(field, value)
    try:
        if isinstance(read, Timestamp):
            getattr(event, field.name).CopyFrom(read)
        else:
            setattr(event, field.name, read)
    except ValueError as error:
        raise EventError(f"{field.name} is out of its range") from error


@cache
def _fields(event_type: Descriptor) -> tuple[tuple[str, bool], ...]:
    """The names of its fields, and which are timestamps. Raises TypeError if one cannot be in an event."""
    for field in event_type.fields:
        if not _is_timestamp(field):
            _python_type(field)
    return tuple((field.name, _is_timestamp(field)) for field in event_type.fields)


def _moment(timestamp: Timestamp) -> str:
    moment = datetime.fromtimestamp(timestamp.seconds, UTC).replace(microsecond=timestamp.nanos // 1000)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _from_json(field: Field, value: object) -> Any:
    if _is_timestamp(field):
        return _timestamp(field, value)
    expected = _python_type(field)
    if type(value) is not expected:
        raise EventError(f"{field.name} is not of type {expected.__name__}")
    return value


def _timestamp(field: Field, value: object) -> Timestamp:
    if not isinstance(value, str) or not value.endswith("Z"):
        raise EventError(f"{field.name} is not a time in UTC")
    timestamp = Timestamp()
    try:
        timestamp.FromJsonString(value)
    except ValueError as error:
        raise EventError(f"{field.name} is not a time in UTC") from error
    return timestamp


def _is_timestamp(field: Field) -> bool:
    return field.message_type is not None and field.message_type.full_name == TIMESTAMP


_PYTHON_TYPES: dict[int, type] = {
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
    FieldDescriptor.CPPTYPE_STRING: str,
}


def _python_type(field: Field) -> type:
    python_type = _PYTHON_TYPES.get(field.cpp_type)
    if field.is_repeated or python_type is None:
        raise TypeError(f"{field.full_name}: events hold integers, strings and timestamps only")
    return python_type
