"""JSON bodies, read as strictly as the gateway promises: with the violations that it should name."""

import json
from decimal import Decimal, DecimalException
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.fuzz.integers import as_integer, is_canonical, is_integer, kind_of

_SPACE = " \t\r\n"
_MAX_DEPTH = 100


class UndecidedError(Exception):
    """This reader cannot tell what the gateway should say."""


class MalformedError(UndecidedError):
    """It is no JSON. Where the gateway sees that is its own affair."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object: a key may be there twice."""


class Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class Body:
    """Reads a message, and notes what is wrong with it by field and rule, in the order of the text."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []

    def read(self, text: bytes, of: Descriptor, bound: list[str]) -> dict[str, Any]:
        """The message in plain JSON. The path holds the fields that are `bound`."""
        value, rest = _parsed(text)
        if value is _EMPTY:
            self.violations.append(("", "json.empty"))
            return {}
        found = self._message(value, of, bound, "")
        if rest:
            self.violations.append(("", "json.trailing_data"))
        return found

    def _wrong(self, place: str, rule: str) -> None:
        self.violations.append((place, rule))

    def _message(self, value: Any, of: Descriptor, bound: list[str], place: str) -> dict[str, Any]:
        message: dict[str, Any] = {}
        if not isinstance(value, Pairs):
            self._wrong(place, "message.type")
            return message
        fields = {field.json_name: field for field in of.fields}
        seen: set[str] = set()
        for key, each in value:
            field = fields.get(key)
            if field is None or field.name in bound:
                self._wrong(_join(place, key), "json.unknown_field")
            elif key in seen:
                self._wrong(_join(place, field.name), "json.duplicate_key")
            elif each is not None:
                message[key] = self._field(each, field, _join(place, field.name))
            seen.add(key)
        return message

    def _field(self, value: Any, field: FieldDescriptor, place: str) -> Any:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            raise UndecidedError("a map")
        if not field.is_repeated:
            return self._value(value, field, place)
        if isinstance(value, Pairs) or not isinstance(value, list):
            self._wrong(place, "repeated.type")
            return []
        return [self._value(each, field, f"{place}[{index}]") for index, each in enumerate(value)]

    def _value(self, value: Any, field: FieldDescriptor, place: str) -> Any:
        if value is None:
            self._wrong(place, "json.null")
        elif field.message_type is not None:
            if field.message_type.file.package == "google.protobuf":
                raise UndecidedError("a well-known type")
            return self._message(value, field.message_type, [], place)
        elif is_integer(field):
            return self._integer(value, field, place)
        elif field.type != field.TYPE_STRING:
            raise UndecidedError(f"a {kind_of(field)}")
        elif not isinstance(value, str) or isinstance(value, Number):
            self._wrong(place, "string.type")
        return value

    def _integer(self, value: Any, field: FieldDescriptor, place: str) -> Any:
        digits: str | None = None
        if isinstance(value, Number):
            digits = _whole(value)
        elif isinstance(value, str) and kind_of(field).endswith("64") and is_canonical(value):
            digits = value
        if digits is None:
            self._wrong(place, f"{kind_of(field)}.type")
            return 0
        number = as_integer(field, digits)
        if number is None:
            self._wrong(place, f"{kind_of(field)}.range")
        return number


_EMPTY = object()


def _parsed(text: bytes) -> tuple[Any, str]:
    """The first value of a text, and what is behind it."""
    decoder = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=_refuse)
    try:
        characters = text.decode().lstrip(_SPACE)
        if not characters:
            return _EMPTY, ""
        value, end = decoder.raw_decode(characters)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    _check_text(value, 0)
    return value, characters[end:].lstrip(_SPACE)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_text(value: Any, depth: int) -> None:
    """Python reads half a surrogate pair, and any depth."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise MalformedError("half of a surrogate pair")
    elif isinstance(value, list):
        if depth == _MAX_DEPTH:
            raise MalformedError("too deep")
        for each in value:
            for part in each if isinstance(each, tuple) else (each,):
                _check_text(part, depth + 1)


def _whole(number: str) -> str | None:
    """The digits of a number that is an integer. One that is too long to write out is out of range anyway."""
    try:
        sign, digits, exponent = Decimal(number).as_tuple()
    except DecimalException:
        raise UndecidedError("an enormous exponent") from None
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    if not text:
        return "0"
    stripped = text.rstrip("0")
    exponent += len(text) - len(stripped)
    if exponent < 0:
        return None
    written = stripped + "0" * min(exponent, 30)
    return f"-{written}" if sign else written


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place and name and not name.startswith("[") else f"{place}{name}"
