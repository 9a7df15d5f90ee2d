"""The rules of one value, buf.validate to JSON Schema: a table for each kind.

A row of a table takes a rule and says what of it JSON Schema can: all of it, a part, or
nothing. What is left over is named in the document, so that no rule is lost silently. A
rule without a row is an error.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from codegen import descriptors
from codegen.openapi import kinds, patterns
from codegen.openapi.kinds import Schema, Value


@dataclass(frozen=True)
class Said:
    """A schema, and the rules that it does not wholly express: id and meaning."""

    schema: Schema
    left: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule that is set, and the value that it is for."""

    name: str
    setting: Any
    of: Value

    @property
    def id(self) -> str:
        """The id that a violation of the rule has."""
        return f"{self.of.kind}.{self.name}"

    def spelled(self, settings: Iterable[Any]) -> list[Any]:
        return [text for setting in settings for text in kinds.spellings(self.of, setting)]

    def left(self) -> tuple[str, str]:
        return self.id, f"{self.name} = {_shown(self.setting)}"


Row = Callable[[Rule], Said]


def said(value: Value) -> Said:
    """The schema of a value with its rules."""
    parts = [Said(kinds.base(value)), *(_row(value, *each) for each in descriptors.rules_set(value.rules))]
    return Said(merged(part.schema for part in parts), tuple(left for part in parts for left in part.left))


def _row(value: Value, field: FieldDescriptor, setting: Any) -> Said:
    row = _ROWS[value.kind].get(field.name)
    if field.is_extension or row is None:
        raise descriptors.ContractError(f"the rule {value.kind}.{field.name} is not known here")
    return row(Rule(field.name, setting, value))


def merged(schemas: Iterable[Schema]) -> Schema:
    """One schema that demands all of them."""
    schema: Schema = {}
    for part in schemas:
        if schema.keys() & part.keys():
            schema["allOf"] = [*schema.get("allOf", []), part]
        else:
            schema.update(part)
    return schema


def _shown(setting: Any) -> str:
    if hasattr(setting, "DESCRIPTOR"):
        return str(descriptors.proto_json(setting))
    if isinstance(setting, bytes | int | float | str):
        return repr(setting)
    return ", ".join(_shown(each) for each in setting)


# What a row may say


def _is(make: Callable[[Any], Schema]) -> Row:
    """The schema says all of the rule."""
    return lambda rule: Said(make(rule.setting))


def _in_part(make: Callable[[Any], Schema]) -> Row:
    """The schema says what it can, and the rule is named."""
    return lambda rule: Said(make(rule.setting), (rule.left(),))


def _named(rule: Rule) -> Said:
    """The schema can say nothing of it."""
    return Said({}, (rule.left(),))


def _of_the_kind(_: Rule) -> Said:
    """The schema of the kind says it already."""
    return Said({})


def _if_on(row: Row) -> Row:
    """Of a rule that is on or off."""
    return lambda rule: row(rule) if rule.setting else Said({})


def _on(schema: Schema) -> Row:
    return _if_on(_is(lambda _: schema))


def _on_in_part(schema: Schema) -> Row:
    return _if_on(_in_part(lambda _: schema))


# Rows that look closer


def _const(rule: Rule) -> Said:
    spelled = rule.spelled([rule.setting])
    return Said({"const": spelled[0]} if len(spelled) == 1 else {"enum": spelled})


def _in(rule: Rule) -> Said:
    return Said({"enum": rule.spelled(rule.setting)})


def _not_in(rule: Rule) -> Said:
    return Said({"not": {"enum": rule.spelled(rule.setting)}})


def _example(rule: Rule) -> Said:
    plain = (descriptors.proto_json(each) if hasattr(each, "DESCRIPTOR") else each for each in rule.setting)
    return Said({"examples": [rule.spelled([each])[0] for each in plain]})


def _limit_named(rule: Rule) -> Said:
    """A limit of a moment or a duration. Two limits are one rule, which has its name from both."""
    lower, upper = rule.of.limits
    if lower is None or upper is None or "now" in f"{lower} {upper}":
        return _named(rule)
    if rule.name == upper:
        return Said({})
    text = f"{lower} = {_shown(rule.setting)}, {upper} = {_shown(getattr(rule.of.rules, upper))}"
    return Said({}, ((f"{rule.id}_{upper}{'_exclusive' if rule.of.is_outside else ''}", text),))


def _pattern(rule: Rule) -> Said:
    pattern = patterns.from_re2(rule.setting)
    return _named(rule) if pattern is None else Said({"pattern": pattern})


def _well_known_regex(rule: Rule) -> Said:
    """1 is the name of a header, 2 its value; strict unless the contract says otherwise."""
    rules = rule.of.rules
    strict = rules.strict or not rules.HasField("strict")
    pattern = {
        (1, True): r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$",
        (1, False): r"^[^\x00\n\r]+$",
        (2, True): r"^[^\x00-\x08\x0A-\x1F\x7F]*$",
        (2, False): r"^[^\x00\n\r]*$",
    }.get((rule.setting, strict))
    return Said({"pattern": pattern} if pattern else {})


def _bytes_on(*lengths: int) -> Row:
    """So many bytes, and no other number of them."""
    return _if_on(lambda rule: Said(kinds.bytes_of([(length, length) for length in lengths], rule.of.place)))


def _type_url(schema: Callable[[list[str]], Schema]) -> Row:
    return _is(lambda urls: {"allOf": [{"properties": {"@type": schema(list(urls))}}]})


# The tables

_VALUES: dict[str, Row] = {"const": _const, "in": _in, "not_in": _not_in, "example": _example}
_NUMBERS: dict[str, Row] = {**_VALUES, **dict.fromkeys(kinds.LIMITS, _of_the_kind), "finite": _of_the_kind}
_MOMENTS: dict[str, Row] = {"const": _named, "example": _example, **dict.fromkeys(kinds.LIMITS, _limit_named)}

_STRING: dict[str, Row] = {
    **_VALUES,
    "len": _is(lambda n: {"minLength": n, "maxLength": n}),
    "min_len": _is(lambda n: {"minLength": n}),
    "max_len": _is(lambda n: {"maxLength": n}),
    # A character has one to four bytes.
    "len_bytes": _in_part(lambda n: {"minLength": -(-n // 4), "maxLength": n}),
    "min_bytes": _in_part(lambda n: {"minLength": -(-n // 4)}),
    "max_bytes": _in_part(lambda n: {"maxLength": n}),
    "pattern": _pattern,
    "prefix": _is(lambda text: {"pattern": f"^{patterns.escape(text)}"}),
    "suffix": _is(lambda text: {"pattern": f"{patterns.escape(text)}$"}),
    "contains": _is(lambda text: {"pattern": patterns.escape(text)}),
    "not_contains": _is(lambda text: {"not": {"pattern": patterns.escape(text)}}),
    # Not the format: that one takes quoted names as well, and refuses two dots in a row.
    "email": _on({"pattern": patterns.EMAIL}),
    "hostname": _on_in_part({"format": "hostname", "minLength": 1}),
    "ip": _on_in_part({"anyOf": [{"pattern": patterns.IPV4}, {"format": "ipv6"}], "minLength": 1}),
    "ipv4": _on({"format": "ipv4", "pattern": patterns.IPV4}),
    "ipv6": _on_in_part({"format": "ipv6", "minLength": 1}),
    "uri": _on_in_part({"format": "uri", "minLength": 1}),
    "uri_ref": _on_in_part({"format": "uri-reference"}),
    "address": _on_in_part({"anyOf": [{"format": "hostname"}, {"format": "ipv6"}], "minLength": 1}),
    "uuid": _on({"format": "uuid", "pattern": patterns.UUID}),
    "tuuid": _on({"pattern": "^[0-9a-fA-F]{32}$"}),
    "ulid": _on({"pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"}),
    "protobuf_fqn": _on({"pattern": f"^{patterns.TYPE_NAME}$"}),
    "protobuf_dot_fqn": _on({"pattern": rf"^\.{patterns.TYPE_NAME}$"}),
    "ip_with_prefixlen": _on_in_part({"minLength": 1}),
    "ipv4_with_prefixlen": _on_in_part({"minLength": 1}),
    "ipv6_with_prefixlen": _on_in_part({"minLength": 1}),
    "ip_prefix": _on_in_part({"minLength": 1}),
    "ipv4_prefix": _on_in_part({"minLength": 1}),
    "ipv6_prefix": _on_in_part({"minLength": 1}),
    "host_and_port": _on_in_part({"minLength": 1}),
    "well_known_regex": _well_known_regex,
    "strict": lambda _: Said({}),  # read by well_known_regex
}

_BYTES: dict[str, Row] = {
    **_VALUES,
    "len": _of_the_kind,
    "min_len": _of_the_kind,
    "max_len": _of_the_kind,
    "pattern": _named,
    "prefix": _named,
    "suffix": _named,
    "contains": _named,
    "ip": _bytes_on(4, 16),
    "ipv4": _bytes_on(4),
    "ipv6": _bytes_on(16),
    "uuid": _bytes_on(16),
}

_ROWS: dict[str, dict[str, Row]] = {
    **dict.fromkeys([*kinds.INTEGERS, *kinds.FLOATS], _NUMBERS),
    "bool": {"const": _const, "example": _example},
    "string": _STRING,
    "bytes": _BYTES,
    "enum": {
        **dict.fromkeys(["const", "in", "not_in", "defined_only"], _of_the_kind),
        "example": _example,
    },
    "any": {
        "in": _type_url(lambda urls: {"enum": urls}),
        "not_in": _type_url(lambda urls: {"not": {"enum": urls}}),
    },
    "duration": {**_MOMENTS, "in": _named, "not_in": _named},
    "timestamp": {**_MOMENTS, "lt_now": _if_on(_named), "gt_now": _if_on(_named), "within": _named},
    "field_mask": {
        "const": _is(lambda mask: {"const": descriptors.proto_json(mask)}),
        "in": _of_the_kind,
        "not_in": _named,
        "example": _example,
    },
}
