"""What the marketplace should say of the rules in a request: decided here, from the bytes that were sent.

It is a second reading of the promises that services/gateway makes in Go and services/chassis in
Python: paths, queries and bodies are read strictly, and protovalidate judges the message.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.chassis.access import bearer_token
from tests.fuzz.access import Access
from tests.fuzz.integers import as_integer, is_canonical, is_integer, kind_of
from tests.fuzz.operations import Broken, Contract, Operation
from tests.fuzz.strict_json import Body, MalformedError, UndecidedError

_LARGE = 5000
_MAX_VIOLATIONS = 50
_MAX_NAME = 200
_ESCAPE = re.compile(rb"%(?:([0-9A-Fa-f]{2})|(.{0,2}))", re.DOTALL)
_MEDIA_TYPE = re.compile(r"\s*([^;\s]*)\s*(?:;\s*charset=\"?([\w-]+)\"?\s*)?")
_KEY, _REQUEST_ID = "Idempotency-Key", "request_id"


@dataclass(frozen=True)
class Sent:
    """A request as it was sent. The names of the headers are in lower case."""

    verb: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Expected:
    """What should be answered."""

    status: int | None = None
    """None: anything but 400."""
    broken: Broken | None = None
    """What a 400 names; None: at least one fault of the JSON, the rest cannot be told."""


@dataclass(frozen=True)
class _Reading:
    """A request while it is read."""

    operation: Operation
    message: dict[str, Any] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)

    def wrong(self, name: str, rule: str) -> None:
        self.violations.append((name, rule))


def expected(contract: Contract, sent: Sent, access: Access) -> Expected:
    """What should be answered. Raises UndecidedError if that cannot be told."""
    if sum(len(name) + len(value) for name, value in sent.headers.items()) > _LARGE:
        raise UndecidedError("large headers")
    url = urlsplit(sent.url)
    parts = _parts(url.path)
    routes = _routes(contract.operations, parts)
    here = [operation for operation in routes if operation.verb == sent.verb]
    if not here or parts is None:
        return Expected((204 if sent.verb == "OPTIONS" else 405) if routes else 404)
    return _of_headers(sent) or _of_body(here[0], sent) or _of_rules(contract, here[0], parts, sent, access)


def message_of(operation: Operation, parts: list[bytes], query: str, body: bytes | None) -> Message | None:
    """The message of a request that reads well, whatever rules it breaks; else None."""
    reading = _read(operation, parts, query, body)
    return None if reading.violations else _message(reading)


def parts_of(path: str) -> list[bytes]:
    """The segments of a path, unescaped."""
    return _parts(path) or []


# Routes


def _parts(path: str) -> list[bytes] | None:
    parts = [_unescaped(part, plus=False) for part in path[1:].split("/")]
    return None if any(part is None or b"/" in part for part in parts) else [part for part in parts if part is not None]


def _routes(operations: Iterable[Operation], parts: list[bytes] | None) -> list[Operation]:
    return [operation for operation in operations if parts is not None and _takes(operation.segments, parts)]


def _takes(segments: list[str], parts: list[bytes]) -> bool:
    if len(segments) != len(parts):
        return False
    return all(
        part and (segment[0] == "{" or segment.encode() == part) for segment, part in zip(segments, parts, strict=True)
    )


# Headers


def _of_headers(sent: Sent) -> Expected | None:
    if not _is_printable(sent.headers.get("authorization", "")):
        return Expected(401)
    if not _is_printable(sent.headers.get(_KEY.lower(), "")):
        return Expected(400, frozenset({(_KEY, "header.syntax")}))
    return None


def _is_printable(text: str) -> bool:
    return all(" " <= char <= "~" for char in text.strip(" \t"))


def _is_json(headers: Mapping[str, str]) -> bool:
    given = headers.get("content-type")
    if given is None or "content-encoding" in headers:
        return False
    found = _MEDIA_TYPE.fullmatch(given)
    if found is None:
        if given.lower().startswith("application/json"):
            raise UndecidedError("a strange media type")
        return False
    return found[1].lower() == "application/json" and (found[2] or "utf-8").lower() == "utf-8"


# The rest


def _of_body(operation: Operation, sent: Sent) -> Expected | None:
    given = bool(sent.body) or "content-type" in sent.headers
    return Expected(415) if operation.has_body and given and not _is_json(sent.headers) else None


def _of_rules(contract: Contract, operation: Operation, parts: list[bytes], sent: Sent, access: Access) -> Expected:
    try:
        reading = _read(operation, parts, urlsplit(sent.url).query, sent.body if operation.has_body else None)
    except MalformedError:
        return Expected(400)
    if sent.body and not operation.has_body:
        reading.violations.insert(0, ("", "body.unexpected"))
    if reading.violations:
        return Expected(400, frozenset((_cut(name), rule) for name, rule in reading.violations[:_MAX_VIOLATIONS]))
    message = _message(reading)
    if _differs(message, sent.headers.get(_KEY.lower())):
        return Expected(409)
    refusal = access.refusal(operation, message, bearer_token(sent.headers.get("authorization", "")))
    if refusal is not None:
        return Expected(refusal)
    broken = contract.broken(message)
    return Expected(400, broken) if broken else Expected()


def _differs(message: Message, key: str | None) -> bool:
    """Fills the request id from the header; whether they differ."""
    if key is None or _REQUEST_ID not in message.DESCRIPTOR.fields_by_name:
        return False
    key = key.strip(" \t")
    if message.HasField(_REQUEST_ID):
        return str(getattr(message, _REQUEST_ID)).casefold() != key.casefold()
    setattr(message, _REQUEST_ID, key)
    return False


def _read(operation: Operation, parts: list[bytes], query: str, body: bytes | None) -> _Reading:
    reading = _Reading(operation)
    fields = operation.descriptor.fields_by_name
    for segment, part in zip(operation.segments, parts, strict=True):
        if segment[0] == "{":
            _text(reading, fields[segment[1:-1]], part)
    _query(reading, query)
    if body is not None:
        read = Body()
        reading.message.update(read.read(body, operation.descriptor, operation.bound))
        reading.violations.extend(read.violations)
    return reading


def _query(reading: _Reading, query: str) -> None:
    seen: set[str] = set()
    for pair in filter(None, query.split("&")):
        if ";" in pair:
            reading.wrong("", "query.syntax")
            continue
        raw_name, _, raw_value = pair.partition("=")
        name = _utf8(_unescaped(raw_name, plus=True))
        value = _unescaped(raw_value, plus=True)
        found = reading.operation.in_query.get(name or "")
        if name is None:
            reading.wrong("", "query.syntax")
            continue
        if found is None:
            reading.wrong(name, "query.unknown")
        elif value is None:
            reading.wrong(found.name, "query.syntax")
        elif name in seen:
            reading.wrong(found.name, "query.repeated")
        else:
            _text(reading, found, value)
        seen.add(name)


def _text(reading: _Reading, found: FieldDescriptor, raw: bytes) -> None:
    text = _utf8(raw)
    if is_integer(found):
        if text is None or not is_canonical(text):
            reading.wrong(found.name, f"{kind_of(found)}.type")
        elif (number := as_integer(found, text)) is None:
            reading.wrong(found.name, f"{kind_of(found)}.range")
        else:
            reading.message[found.json_name] = number
    elif found.type != found.TYPE_STRING or found.is_repeated:
        raise UndecidedError("a parameter that is neither integer nor string")
    elif text is None:
        reading.wrong(found.name, "string.utf8")
    else:
        reading.message[found.json_name] = text


def _message(reading: _Reading) -> Message:
    try:
        return json_format.ParseDict(reading.message, reading.operation.request())
    except json_format.ParseError as error:
        raise UndecidedError(str(error)) from None


def _unescaped(text: str, *, plus: bool) -> bytes | None:
    raw = text.encode()
    raw = raw.replace(b"+", b" ") if plus else raw
    if any(escape[2] is not None for escape in _ESCAPE.finditer(raw)):
        return None
    return _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), raw)


def _utf8(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _cut(name: str) -> str:
    raw = name.encode()
    return name if len(raw) <= _MAX_NAME else raw[:_MAX_NAME].decode(errors="ignore") + "..."
