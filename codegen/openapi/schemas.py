"""Messages to JSON Schema: one for requests, one for answers, one for events.

A request may leave out what no rule needs, may say null for it, and may spell a value in
every way that proto JSON reads. An answer has every field, in its canonical spelling. So
has an event, in the spelling of its codec and under the names of the .proto.
All are closed: an unknown field is an error.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from codegen.descriptors import Contract, ContractError, is_map, is_repeated, oneofs, rules_set
from codegen.openapi import kinds, rules
from codegen.openapi.kinds import Place, Schema, Value
from codegen.openapi.rules import Said

_SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{kind.upper()}"): kind
    for kind in [*kinds.INTEGERS, *kinds.FLOATS, "bool", "string", "bytes", "enum"]
}
_WRAPPERS = {
    f"google.protobuf.{name}Value": name.lower()
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
}
_RULED = {
    **_WRAPPERS,
    "google.protobuf.Any": "any",
    "google.protobuf.Duration": "duration",
    "google.protobuf.FieldMask": "field_mask",
    "google.protobuf.Timestamp": "timestamp",
}
_FREE: dict[str, Schema] = {
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
}
_RULES_OF_A_FIELD = {"cel", "cel_expression", "ignore", "required"}
_RULES_OF_A_MESSAGE = {"cel", "cel_expression", "oneof"}
_IF_ZERO_VALUE, _ALWAYS = 1, 3  # buf.validate.Ignore


def is_component(message: Descriptor) -> bool:
    """Whether its schema comes from the contract and not from proto JSON."""
    return message.full_name not in {*_RULED, *_FREE}


class Schemas:
    """The schemas of a contract's messages. Those that others refer to collect in `components`; the
    rules of requests that no schema wholly expresses collect in `left`, by field or message.
    """

    def __init__(self, contract: Contract, names: dict[tuple[str, Place], str]) -> None:
        self.components: dict[str, Schema] = {}
        self.left: dict[str, set[str]] = {}
        self._contract = contract
        self._names = names

    def reference(self, message: Descriptor, place: Place) -> Schema:
        """Refers to the schema of a message, which becomes a component."""
        name = self._names[message.full_name, place]
        if name not in self.components:
            self.components[name] = {}  # a message may hold itself
            self.components[name] = self.message(message, place)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, message: Descriptor, place: Place, without: Iterable[str] = ()) -> Schema:
        """The schema of a message, without the fields of these names."""
        fields = [field for field in message.fields if field.name not in set(without)]
        schema: Schema = {"type": "object"}
        if fields:
            schema["properties"] = {_name(field, place): self.field(field, place) for field in fields}
        needed = self._needed(message, place)
        if required := [_name(field, place) for field in fields if field.name in needed]:
            schema["required"] = required
        schema["additionalProperties"] = False
        rule = self._of_message(message, place)
        self._note(message.full_name, place, rule)
        return described(rules.merged([schema, rule.schema]), self._contract.comment(message), rule.left)

    def field(self, field: FieldDescriptor, place: Place) -> Schema:
        """The schema of a field: its value, null where that means the same as nothing, and its comment."""
        try:
            said = self._field(field, place)
        except ContractError as error:
            raise ContractError(f"{field.full_name}: {error}") from error
        self._note(field.full_name, place, said)
        schema = _nullable(said.schema) if self._is_nullable(field, place) else said.schema
        return described(schema, self._contract.comment(field), said.left)

    def rules_over_parameters(self, message: Descriptor) -> list[tuple[str, str]]:
        """Id and meaning of the rules over several fields of a message that comes as parameters: no schema has them."""
        left = list(_custom(self._contract.message_rules(message)))
        for oneof in oneofs(message):
            found = self._contract.oneof_rules(oneof)
            if found is not None and found.required:
                left.append(("required", f"one of {_listed(oneof.fields)} is set"))
        found = self._contract.message_rules(message)
        for rule in found.oneof if found is not None else ():
            members = [message.fields_by_name[name] for name in rule.fields]
            left.append(
                ("message.oneof", f"{'exactly' if rule.required else 'at most'} one of {_listed(members)} is set")
            )
        self._note(message.full_name, Place.PARAMETER, Said({}, tuple(left)))
        return left

    def is_required(self, field: FieldDescriptor) -> bool:
        """Whether a request must set it."""
        return field.name in self._needed(field.containing_type, Place.BODY)

    def _needed(self, message: Descriptor | None, place: Place) -> set[str]:
        """The names of the fields that are always there. An answer lacks at most the members of a oneof."""
        assert message
        if place is Place.EVENT:
            return {field.name for field in message.fields}
        if place is Place.RESPONSE:
            return {field.name for field in message.fields if field.containing_oneof is None}
        return self._contract.fields_required(message)

    def _is_nullable(self, field: FieldDescriptor, place: Place) -> bool:
        """A request may say null for what it may leave out, an answer only for a message that is not there."""
        if place in {Place.PARAMETER, Place.KEY, Place.EVENT}:
            return False
        if place is Place.RESPONSE and (field.containing_oneof or not field.has_presence):
            return False
        return not self.is_required(field)

    def _note(self, owner: str, place: Place, said: Said) -> None:
        if said.left and place in {Place.BODY, Place.PARAMETER}:
            self.left.setdefault(owner, set()).update(rule_id for rule_id, _ in said.left)

    # A field and its value

    def _field(self, field: FieldDescriptor, place: Place) -> Said:
        make = self._map if is_map(field) else self._list if is_repeated(field) else self._one
        return self._ruled(_Slot(field, self._contract.field_rules(field), place), make)

    def _element(self, of: "_Slot", field: FieldDescriptor, found: Any, place: Place) -> Schema:
        """The schema of an element of a list or a map, which is always there."""
        said = self._ruled(_Slot(field, found, place, is_element=True), self._one)
        self._note(of.field.full_name, of.place, said)
        return described(said.schema, "", said.left)

    def _ruled(self, slot: "_Slot", make: Callable[["_Slot"], Said]) -> Said:
        """What `make` says of the rules of the kind, and what the rules for any kind of field add."""
        _refuse_unknown(slot.rules, _RULES_OF_A_FIELD, "type")
        if slot.rules is not None and slot.rules.ignore == _ALWAYS:
            if slot.field.message_type and is_component(slot.field.message_type):
                raise ContractError("IGNORE_ALWAYS does not reach the rules inside of a message here")
            return make(replace(slot, rules=None))
        said = make(slot)
        schema = said.schema
        if slot.rules is not None and slot.rules.required and slot.zeros:
            schema = rules.merged([schema, slot.not_zero])
        elif self._is_zero_ignored(slot) and slot.zeros:
            schema = {"anyOf": [{"enum": slot.zeros}, schema]}
        return Said(schema, said.left + _custom(slot.rules))

    def _is_zero_ignored(self, slot: "_Slot") -> bool:
        """Whether the rules leave the zero value alone: by `ignore`, or in a oneof that the message rules list."""
        if slot.rules is None:
            return False
        if slot.is_element or slot.rules.HasField("ignore"):
            return bool(slot.rules.ignore == _IF_ZERO_VALUE)
        assert slot.field.containing_type
        found = self._contract.message_rules(slot.field.containing_type)
        return found is not None and any(slot.field.name in oneof.fields for oneof in found.oneof)

    def _one(self, slot: "_Slot") -> Said:
        if slot.kind:
            return self._value(Value(slot.kind, slot.place, slot.kind_rules, slot.field.enum_type))
        if slot.message in _FREE:
            return Said(dict(_FREE[slot.message]))
        if slot.place is Place.PARAMETER:
            raise ContractError("a message is no parameter")
        assert slot.field.message_type
        return Said(self.reference(slot.field.message_type, slot.place))

    def _value(self, value: Value) -> Said:
        """A value with its rules. Those that the contract defines itself are CEL, and left over."""
        own = [each for each, _ in rules_set(value.rules) if each.is_extension]
        if not own:
            return rules.said(value)
        standard = type(value.rules)()
        standard.CopyFrom(value.rules)
        left: tuple[tuple[str, str], ...] = ()
        for each in own:
            defined = self._contract.predefined_rules(each)
            if defined is None:
                raise ContractError(f"the rule {each.full_name} is not known here")
            standard.ClearExtension(each)
            left += _custom(defined)
        said = rules.said(replace(value, rules=standard))
        return Said(said.schema, said.left + left)

    def _list(self, slot: "_Slot") -> Said:
        found = slot.kind_rules
        limits = _limits(found, {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}, "items")
        items = self._element(slot, slot.field, found.items if found is not None else None, slot.place)
        left: tuple[tuple[str, str], ...] = ()
        if "uniqueItems" in limits and slot.has_spellings:
            left = (("repeated.unique", "two spellings of one value are equal"),)
        return Said({"type": "array", "items": items, **limits}, left)

    def _map(self, slot: "_Slot") -> Said:
        found = slot.kind_rules
        limits = _limits(found, {"min_pairs": "minProperties", "max_pairs": "maxProperties"}, "keys", "values")
        if slot.place is Place.PARAMETER:
            raise ContractError("a map is no parameter")
        assert slot.field.message_type
        key, value = (slot.field.message_type.fields_by_name[name] for name in ("key", "value"))
        names = self._element(slot, key, found.keys if found is not None else None, Place.KEY)
        values = self._element(slot, value, found.values if found is not None else None, slot.place)
        return Said({"type": "object", "propertyNames": names, "additionalProperties": values, **limits})

    # Rules of a message and its oneofs

    def _of_message(self, message: Descriptor, place: Place) -> Said:
        found = self._contract.message_rules(message)
        try:
            _refuse_unknown(found, _RULES_OF_A_MESSAGE)
        except ContractError as error:
            raise ContractError(f"{message.full_name}: {error}") from error
        parts = [self._oneof(oneof, place) for oneof in oneofs(message)]
        for rule in found.oneof if found is not None else ():
            members = [message.fields_by_name[name] for name in rule.fields]
            parts.append(self._one_of(members, place, required=rule.required))
        return Said(rules.merged(parts), _custom(found))

    def _oneof(self, oneof: OneofDescriptor, place: Place) -> Schema:
        found = self._contract.oneof_rules(oneof)
        return self._one_of(oneof.fields, place, required=found is not None and found.required)

    def _one_of(self, members: Sequence[FieldDescriptor], place: Place, *, required: bool) -> Schema:
        """One of the fields is set, or, unless it is required, none."""
        each = [self._is_set(field, place) for field in members]
        none = [] if required else [{"not": {"anyOf": each}}]
        return {"oneOf": [*each, *none]}

    def _is_set(self, field: FieldDescriptor, place: Place) -> Schema:
        """That a field is there, and says more than nothing."""
        unset = ([None] if place is Place.BODY else []) + _Slot(field, None, place).zeros
        name = _name(field, place)
        schema: Schema = {"required": [name]}
        if unset:
            schema["properties"] = {name: {"not": {"enum": unset}}}
        return schema


@dataclass(frozen=True)
class _Slot:
    """A field, or an element of one, with its buf.validate.FieldRules."""

    field: FieldDescriptor
    rules: Any
    place: Place
    is_element: bool = False

    @property
    def message(self) -> str:
        """The full name of its type; empty if it is no message."""
        return self.field.message_type.full_name if self.field.message_type else ""

    @property
    def kind(self) -> str | None:
        """The kind of its value; None if that is a message without rules of its own."""
        return _RULED.get(self.message) if self.message else _SCALARS[self.field.type]

    @property
    def kind_rules(self) -> Any:
        name = self.rules.WhichOneof("type") if self.rules is not None else None
        return getattr(self.rules, name) if name else None

    @property
    def zeros(self) -> list[Any]:
        """Its zero value in every spelling; nothing if it can tell that from being absent."""
        if self.field.has_presence and not self.is_element:
            return []
        if self.field.is_repeated and not self.is_element:
            return [{} if is_map(self.field) else []]
        if self.message:
            return []
        assert self.kind
        value = Value(self.kind, self.place, enum=self.field.enum_type)
        return kinds.spellings(value, kinds.zero(value))

    @property
    def not_zero(self) -> Schema:
        """Any value but zero."""
        kind = "map" if is_map(self.field) else "list" if self.field.is_repeated else self.kind
        keyword = {"map": "minProperties", "list": "minItems", "string": "minLength"}.get(kind or "")
        return {keyword: 1} if keyword else {"not": {"enum": self.zeros}}

    @property
    def has_spellings(self) -> bool:
        """Whether JSON may spell one value in two ways."""
        return self.kind is not None and kinds.has_spellings(Value(self.kind, self.place, enum=self.field.enum_type))


def _name(field: FieldDescriptor, place: Place) -> str:
    """The name of its property."""
    return field.name if place is Place.EVENT else field.json_name


def _listed(fields: Iterable[FieldDescriptor]) -> str:
    return ", ".join(field.json_name for field in fields)


def _limits(found: Any, keywords: dict[str, str], *others: str) -> Schema:
    """The rules of a list or a map that are one keyword each."""
    _refuse_unknown(found, {*keywords, *others})
    return {keywords[rule.name]: value for rule, value in rules_set(found) if rule.name in keywords and value}


def _refuse_unknown(found: Any, known: Iterable[str], oneof: str = "") -> None:
    for rule, _ in rules_set(found):
        member = rule.containing_oneof is not None and rule.containing_oneof.name == oneof
        if not member and rule.name not in known:
            raise ContractError(f"the rule {rule.full_name} is not known here")


def _custom(found: Any) -> tuple[tuple[str, str], ...]:
    """Id and meaning of the rules in CEL."""
    if found is None:
        return ()
    plain = tuple((each, each) for each in getattr(found, "cel_expression", ()))
    return plain + tuple((rule.id, rule.message or rule.expression) for rule in found.cel)


def _nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    types = schema.get("type")
    if types is None or schema.keys() & {"enum", "const", "not", "anyOf", "oneOf", "allOf"}:
        return {"anyOf": [schema, {"type": "null"}]} if schema else schema
    return {**schema, "type": [*([types] if isinstance(types, str) else types), "null"]}


def described(schema: Schema, comment: str, left: Sequence[tuple[str, str]]) -> Schema:
    """The schema with its comment; rules that it does not wholly express are named there and in `x-buf-validate`."""
    rest = "\n".join(f"- `{rule_id}`: {text}" for rule_id, text in left)
    text = "\n\n".join(part for part in (comment, f"More rules hold:\n\n{rest}" if rest else "") if part)
    named = {"x-buf-validate": [rule_id for rule_id, _ in left]} if left else {}
    return {**schema, **({"description": text} if text else {}), **named}
