"""The kinds of values: what JSON of each is right before any rule, and how it may be spelled.

The ranges that `gt`, `gte`, `lt` and `lte` leave of a number are here as well, for each
kind of number writes them in its own way.
"""

import base64
import enum
import json
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import EnumDescriptor

from codegen import descriptors
from codegen.openapi import patterns

Schema = dict[str, Any]


class Place(enum.Enum):
    """Where a value stands. It decides on the spellings that are right."""

    PARAMETER = "in the path, the query or a header: the text of one value"
    BODY = "in a request's body: whatever proto JSON reads"
    RESPONSE = "in an answer: the one canonical spelling"
    KEY = "as text: the name of a property, that is the key of a map, or the key or a header of an event"
    EVENT = "in an event: the one spelling of its codec"


@dataclass(frozen=True)
class Value:
    """A value of one kind in one place, with the rules of its kind."""

    kind: str  # the name of its rules in buf.validate.FieldRules
    place: Place
    rules: Any = None  # buf.validate.StringRules, …; None: no rules
    enum: EnumDescriptor | None = None  # of a value of the kind `enum`

    @property
    def limits(self) -> tuple[str | None, str | None]:
        """The names of the rules for its lower and its upper end."""
        if self.rules is None:
            return None, None
        return self.rules.WhichOneof("greater_than"), self.rules.WhichOneof("less_than")

    @property
    def is_outside(self) -> bool:
        """Whether the limits mean what is outside of them: the lower one is above the upper."""
        lower, upper = self.limits
        if lower is None or upper is None:
            return False
        return ordered(getattr(self.rules, upper)) < ordered(getattr(self.rules, lower))

    @property
    def is_wide(self) -> bool:
        return self.kind.endswith("64")


INTEGERS: dict[str, patterns.Range] = {
    **dict.fromkeys(["int32", "sint32", "sfixed32"], (-(2**31), 2**31 - 1)),
    **dict.fromkeys(["uint32", "fixed32"], (0, 2**32 - 1)),
    **dict.fromkeys(["int64", "sint64", "sfixed64"], (-(2**63), 2**63 - 1)),
    **dict.fromkeys(["uint64", "fixed64"], (0, 2**64 - 1)),
}
FLOATS: dict[str, float] = {
    "float": struct.unpack("<f", b"\xff\xff\x7f\x7f")[0],
    "double": struct.unpack("<d", b"\xff\xff\xff\xff\xff\xff\xef\x7f")[0],
}
LIMITS = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SECONDS = 315_576_000_000  # of a google.protobuf.Duration, in each direction


def base(value: Value) -> Schema:
    """The schema of a value's kind, with the limits of a number and the names of an enum."""
    return _BASES[value.kind](value)


def ordered(limit: Any) -> tuple[Any, ...]:
    """A number, a moment or a duration, to compare with others."""
    return (limit.seconds, limit.nanos) if hasattr(limit, "nanos") else (limit,)


# Spellings


def spellings(value: Value, setting: Any) -> list[Any]:
    """How JSON may spell a setting of the value; the canonical spelling comes first."""
    if value.kind in INTEGERS or value.kind == "bool":
        text = json.dumps(setting)
        return {"text": [text], "number": [setting], "either": [text, setting]}[_style(value)]
    if value.kind in FLOATS:
        return [_number(value.kind, setting)]
    if value.kind == "bytes":
        return _base64(setting)[: 1 if value.place is Place.RESPONSE else None]
    if value.enum is not None:
        return _enum_spellings(value.enum, setting, value.place)
    return [setting]


def has_spellings(value: Value) -> bool:
    """Whether JSON may spell one value in two ways."""
    return value.place is Place.BODY and (value.is_wide or value.kind in {"bytes", "enum"})


def zero(value: Value) -> Any:
    if value.enum is not None:
        return value.enum.values[0].number
    return {"bool": False, "string": "", "bytes": b""}.get(value.kind, 0)


def _style(value: Value) -> str:
    """How JSON writes an integer or a bool: as text, as a number (or literal), or as either."""
    if value.place is Place.KEY:
        return "text"
    if not value.is_wide or value.place in {Place.PARAMETER, Place.EVENT}:
        return "number"
    return "either" if value.place is Place.BODY else "text"


def _enum_spellings(kind: EnumDescriptor, number: int, place: Place) -> list[Any]:
    names: list[Any] = [each.name for each in kind.values if each.number == number]
    if place is Place.BODY:
        return [*names, number]
    return names[:1] or [number] if place is Place.RESPONSE else names


def _base64(setting: bytes) -> list[Any]:
    texts = [base64.b64encode(setting).decode(), base64.urlsafe_b64encode(setting).decode()]
    return list(dict.fromkeys([*texts, *(text.rstrip("=") for text in texts)]))


def _number(kind: str, setting: float) -> Any:
    """A number as JSON has it, with no more digits than its kind needs, or the name of what is no number."""
    if not math.isfinite(setting):
        return "NaN" if math.isnan(setting) else "Infinity" if setting > 0 else "-Infinity"
    if setting.is_integer() and abs(setting) < 2**53:
        return int(setting)
    if kind == "double":
        return setting
    texts = (float(f"{setting:.{digits}g}") for digits in range(1, 10))
    return next((text for text in texts if _as_float(text) == setting), setting)


def _as_float(number: float) -> float:
    """The number that a `float` keeps of it."""
    if abs(number) > FLOATS["float"]:
        return math.inf
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


# Numbers


def _integer_ranges(value: Value) -> list[patterns.Range]:
    """What the limits leave of the type's range."""
    least, most = INTEGERS[value.kind]
    lower, upper = value.limits
    low = getattr(value.rules, lower) + (lower == "gt") if lower else least
    high = getattr(value.rules, upper) - (upper == "lt") if upper else most
    ranges = [(least, high), (low, most)] if value.is_outside else [(low, high)]
    left = [(first, last) for first, last in ranges if first <= last]
    if not left:
        raise descriptors.ContractError(f"no {value.kind} keeps its limits")
    return left


def _integer(value: Value) -> Schema:
    ranges = _integer_ranges(value)
    bounds = [{"minimum": low, "maximum": high} for low, high in ranges]
    limits: Schema = bounds[0] if len(bounds) == 1 else {"anyOf": bounds}
    style = _style(value)
    if style == "number":
        sign = "u" if INTEGERS[value.kind][0] == 0 else ""
        return {"type": "integer", "format": f"{sign}int{value.kind[-2:]}", **limits}
    text = {"pattern": patterns.decimals(ranges)}
    return {"type": "string", **text} if style == "text" else {"type": ["string", "integer"], **text, **limits}


def _bool(value: Value) -> Schema:
    return {"enum": ["false", "true"]} if value.place is Place.KEY else {"type": "boolean"}


def _float(value: Value) -> Schema:
    """A number, or the name of one that JSON has no number for and the rules allow."""
    least, most = {"minimum": -FLOATS[value.kind]}, {"maximum": FLOATS[value.kind]}
    lower, upper = value.limits
    low = {LIMITS[lower]: _finite(value, lower)} if lower else least
    high = {LIMITS[upper]: _finite(value, upper)} if upper else most
    if value.is_outside:
        number: Schema = {"type": "number", "anyOf": [{**least, **high}, {**low, **most}]}
    else:
        number = {"type": "number", **low, **high}
    names = [name for name, setting in _NOT_NUMBERS.items() if _passes(value, setting)]
    return {"anyOf": [number, {"enum": names}]} if names else number


def _finite(value: Value, limit: str) -> Any:
    setting = getattr(value.rules, limit)
    if not math.isfinite(setting):
        raise descriptors.ContractError(f"{value.kind}.{limit} = {setting} is no limit")
    return _number(value.kind, setting)


def _passes(value: Value, number: float) -> bool:
    """Whether NaN or an infinity keeps the limits, and `finite`."""
    if value.rules is not None and value.rules.finite:
        return False
    lower, upper = value.limits
    above = lower is None or number > getattr(value.rules, lower)
    below = upper is None or number < getattr(value.rules, upper)
    return above or below if value.is_outside else above and below


# Bytes


def _bytes(value: Value) -> Schema:
    """Base64 of as many bytes as `len`, `min_len` and `max_len` leave."""
    low, high = 0, None
    if value.rules is not None:
        low = max(value.rules.min_len, value.rules.len)
        ends = [getattr(value.rules, name) for name in ("max_len", "len") if value.rules.HasField(name)]
        high = min(ends, default=None)
    return {"type": "string", "contentEncoding": "base64", **bytes_of([(low, high)], value.place)}


def bytes_of(lengths: Sequence[tuple[int, int | None]], place: Place) -> Schema:
    """So many bytes, in base64."""
    return {"pattern": patterns.base64_canonical(lengths) if place is Place.RESPONSE else patterns.base64(lengths)}


# Enums


def _enum(value: Value) -> Schema:
    """The names, and the numbers where they are right: those of the names, or any if nothing limits them."""
    assert value.enum is not None
    numbers = list(dict.fromkeys(number for number in _numbers(value.enum, value.rules) if _is_in(value.rules, number)))
    spelled = [each for number in numbers for each in spellings(value, number)]
    if value.place is Place.PARAMETER:
        return {"type": "string", "enum": spelled}
    listed = {"enum": sorted(spelled, key=lambda each: isinstance(each, int))}
    if _is_limited(value.enum, value.rules):
        return listed
    low, high = INTEGERS["int32"]
    refused = list(value.rules.not_in) if value.rules is not None else []
    unknown = {"type": "integer", "minimum": low, "maximum": high}
    return {"anyOf": [listed, {**unknown, "not": {"enum": refused}} if refused else unknown]}


def _numbers(kind: EnumDescriptor, rules: Any) -> Iterable[int]:
    """Those that have a name; of an open enum also those that a rule lists."""
    yield from (each.number for each in kind.values)
    if rules is not None and not kind.is_closed and not rules.defined_only:
        yield from [*getattr(rules, "in"), *([rules.const] if rules.HasField("const") else [])]


def _is_in(rules: Any, number: int) -> bool:
    if rules is None:
        return True
    listed = getattr(rules, "in")
    refused = number in rules.not_in or (rules.HasField("const") and number != rules.const)
    return not refused and (not listed or number in listed)


def _is_limited(kind: EnumDescriptor, rules: Any) -> bool:
    """Whether there is an end to its numbers."""
    if kind.is_closed or rules is None:
        return kind.is_closed
    return bool(rules.defined_only or getattr(rules, "in") or rules.HasField("const"))


# Well-known types


def _timestamp(value: Value) -> Schema:
    fraction, zone = r"(?:\.[0-9]{1,9})?", "(?:Z|[+-][0-9]{2}:[0-9]{2})"
    if value.place is Place.RESPONSE:
        fraction, zone = r"(?:\.(?:[0-9]{3}){1,3})?", "Z"
    if value.place is Place.EVENT:
        fraction, zone = r"\.[0-9]{3}", "Z"
    day, clock = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    return {"type": "string", "format": "date-time", "pattern": f"^{day}T{clock}{fraction}{zone}$"}


def _duration(value: Value) -> Schema:
    seconds = patterns.decimals([(0, _SECONDS - 1)]).strip("^$")
    fraction = "(?:[0-9]{3}){1,3}" if value.place is Place.RESPONSE else "[0-9]{1,9}"
    return {"type": "string", "pattern": rf"^-?(?:{seconds}(?:\.{fraction})?|{_SECONDS})s$"}


def _field_mask(value: Value) -> Schema:
    """Paths; those that `in` lists and what is below them, if it does."""
    listed = getattr(value.rules, "in") if value.rules is not None else []
    return {"type": "string", "pattern": patterns.field_mask([_camel(path) for path in listed])}


def _camel(path: str) -> str:
    first, *words = path.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in words)


def _constant(schema: Schema) -> Callable[[Value], Schema]:
    return lambda _: dict(schema)


_BASES: dict[str, Callable[[Value], Schema]] = {
    **dict.fromkeys(INTEGERS, _integer),
    **dict.fromkeys(FLOATS, _float),
    "bool": _bool,
    "string": _constant({"type": "string"}),
    "bytes": _bytes,
    "enum": _enum,
    "timestamp": _timestamp,
    "duration": _duration,
    "field_mask": _field_mask,
    "any": _constant({"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]}),
}
