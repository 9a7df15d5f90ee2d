"""The rules of fields, oneofs and messages as constraints: a table by the names of the rules.

Rules that limit the same thing make one constraint. So `gt: 0` and `gte: 1` of an integer
are equal, and so are `const: 5` and `in: [5]`. A rule that is neither in the table nor
plainly on or off is an error.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

from codegen.breaking.strictness import Choice, Constraint, Demands, End, Ranges, Said
from codegen.descriptors import Contract, ContractError, is_map, proto_json, rules_set
from codegen.openapi.kinds import INTEGERS, ordered

Saids = dict[str, Said]

_UNSPECIFIED, _IF_ZERO_VALUE, _ALWAYS = 0, 1, 3  # buf.validate.Ignore
_IGNORE = {
    _UNSPECIFIED: ("IGNORE_UNSPECIFIED", {"zero", "others"}),
    _IF_ZERO_VALUE: ("IGNORE_IF_ZERO_VALUE", {"others"}),
    _ALWAYS: ("IGNORE_ALWAYS", set[str]()),
}
_WITHOUT_MEANING = {"example"}


@dataclass(frozen=True)
class Group:
    """The rules of one value that limit the same thing."""

    kind: str
    enum: EnumDescriptor | None
    rules: dict[str, tuple[FieldDescriptor, Any]]
    """Each with its setting, by name."""

    def get(self, name: str, default: Any = None) -> Any:
        """The setting of a rule."""
        return self.rules[name][1] if name in self.rules else default

    def texts(self, name: str) -> frozenset[str]:
        """The setting of a rule as texts: one for each part of it."""
        rule, setting = self.rules[name]
        return frozenset(_text(rule, each) for each in (setting if rule.is_repeated else [setting]))


@dataclass(frozen=True)
class Row:
    """What a rule limits, and how the rules that do make a constraint. None: whatever it says, everything passes."""

    limits: str
    constraint: Callable[[Group], Constraint | None]


def of_field(contract: Contract, field: FieldDescriptor) -> Saids:
    """The constraints of a field and its elements."""
    rules = contract.field_rules(field)
    try:
        return _Reader(contract).slot(_Slot(field, rules, _ignore(contract, field, rules)))
    except ContractError as error:
        raise ContractError(f"{field.full_name}: {error}") from error


def of_oneof(contract: Contract, oneof: OneofDescriptor) -> Saids:
    return _Reader(contract).rules(contract.oneof_rules(oneof))


def of_message(contract: Contract, message: Descriptor) -> Saids:
    """The constraints of a message as a whole."""
    return _Reader(contract).rules(contract.message_rules(message))


def is_ignored(contract: Contract, field: FieldDescriptor) -> bool:
    """Whether no rule holds for the field or inside of it."""
    return _ignore(contract, field, contract.field_rules(field)) == _ALWAYS


def _ignore(contract: Contract, field: FieldDescriptor, rules: Any) -> int:
    """The buf.validate.Ignore of a field. A message rule that lists the field has one for it, too."""
    if rules is not None and rules.HasField("ignore"):
        return int(rules.ignore)
    assert field.containing_type
    found = contract.message_rules(field.containing_type)
    is_listed = found is not None and any(field.name in oneof.fields for oneof in found.oneof)
    return _IF_ZERO_VALUE if is_listed else _UNSPECIFIED


@dataclass(frozen=True)
class _Slot:
    """A field, or the elements, the keys or the values of one, with its buf.validate.FieldRules."""

    field: FieldDescriptor
    rules: Any
    ignore: int

    def inner(self, name: str, rules: Any) -> "_Slot":
        """The slot of its `items`, `keys` or `values`."""
        field = self.field
        if is_map(field):
            assert field.message_type
            field = field.message_type.fields_by_name[name.removesuffix("s")]
        return _Slot(field, rules, rules.ignore)


class _Reader:
    """Reads messages of rules, with what the contract says of the rules that it defines itself."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def slot(self, slot: _Slot) -> Saids:
        found = {} if slot.ignore == _ALWAYS else self._of_slot(slot)
        if found or slot.field.message_type is not None:
            # What is ignored matters only where there are rules.
            name, demands = _IGNORE[slot.ignore]
            found["ignore"] = Said((name,), Demands(frozenset(demands)), needs_both=True)
        return found

    def rules(self, rules: Any, kind: str = "", enum: EnumDescriptor | None = None) -> Saids:
        """The constraints of rules that hold no others."""
        groups: dict[Row, Group] = {}
        own: Saids = {}
        for rule, setting in rules_set(rules):
            if rule.is_extension:
                own[rule.full_name] = self._own(rule, setting)
            elif rule.name not in _WITHOUT_MEANING:
                groups.setdefault(row(rule), Group(kind, enum, {})).rules[rule.name] = rule, setting
        return own | {row.limits: _said(row, group) for row, group in groups.items()}

    def _of_slot(self, slot: _Slot) -> Saids:
        if slot.rules is None:
            return {}
        kind = slot.rules.WhichOneof("type")
        common = type(slot.rules)()
        common.CopyFrom(slot.rules)
        common.ClearField("ignore")
        if kind is None:
            return self.rules(common)
        common.ClearField(kind)
        return self.rules(common) | self._of_kind(slot, kind)

    def _of_kind(self, slot: _Slot, kind: str) -> Saids:
        plain = type(getattr(slot.rules, kind))()
        plain.CopyFrom(getattr(slot.rules, kind))
        inner: Saids = {}
        for rule, setting in rules_set(getattr(slot.rules, kind)):
            if _holds_rules(rule):
                plain.ClearField(rule.name)
                found = self.slot(slot.inner(rule.name, setting))
                inner |= {f"{rule.name}.{name}": _below(rule.name, said) for name, said in found.items()}
        return self.rules(plain, kind, slot.field.enum_type) | inner

    def _own(self, rule: FieldDescriptor, setting: Any) -> Said:
        """A rule that the contract defines: its setting, and what that means."""
        defined = self._contract.predefined_rules(rule)
        if defined is None:
            raise _unknown(rule)
        text = f"({rule.full_name}) {_setting(rule, setting)}"
        return Said((text,), Demands(frozenset({text, *(each.expression for each in defined.cel)})))


def row(rule: FieldDescriptor) -> Row:
    """What the rule limits, and how. Raises ContractError if that is not known."""
    oneof = rule.containing_oneof.name if rule.containing_oneof else ""
    if oneof == "well_known" or rule.name == "strict":
        return _WELL_KNOWN
    if rule.name in {"const", "in"} and rule.message_type is not None:
        return _MESSAGES
    found = _ROWS.get(rule.name)
    if found is None and rule.type == FieldDescriptor.TYPE_BOOL:
        found = Row(rule.name, _demands)
    if found is None:
        raise _unknown(rule)
    return found


def _unknown(rule: FieldDescriptor) -> ContractError:
    return ContractError(f"the rule {rule.full_name} is not known here")


def _holds_rules(rule: FieldDescriptor) -> bool:
    return rule.message_type is not None and rule.message_type.full_name == "buf.validate.FieldRules"


# Texts


def _said(row: Row, group: Group) -> Said:
    texts = (_rule(*each) for each in group.rules.values())
    return Said(tuple(text for text in texts if text), row.constraint(group))


def _below(name: str, said: Said) -> Said:
    return replace(said, rules=tuple(f"{name}.{rule}" for rule in said.rules))


def _rule(rule: FieldDescriptor, setting: Any) -> str:
    """The rule with its setting. One that is only on or off is its name, or nothing."""
    if rule.type == FieldDescriptor.TYPE_BOOL and rule.name not in {"const", "strict"}:
        return rule.name if setting else ""
    return f"{rule.name} {_setting(rule, setting)}"


def _setting(rule: FieldDescriptor, setting: Any) -> str:
    if not rule.is_repeated:
        return _text(rule, setting)
    return f"[{', '.join(_text(rule, each) for each in setting)}]"


def _text(rule: FieldDescriptor, setting: Any) -> str:
    if rule.enum_type is not None:
        return rule.enum_type.values_by_number[setting].name
    if rule.message_type is None:
        return str(setting) if isinstance(setting, bytes) else json.dumps(setting, ensure_ascii=False)
    if rule.message_type.full_name == "buf.validate.Rule":
        return f"{setting.id}: {setting.expression}"
    if rule.message_type.full_name == "buf.validate.MessageOneofRule":
        return f"{'one' if setting.required else 'at most one'} of {', '.join(sorted(setting.fields))}"
    return str(proto_json(setting))


# What a row may say


def _demands(group: Group) -> Constraint | None:
    """Each text is one demand. More of them are tighter; another one instead is neither tighter nor looser."""
    demands: set[str] = set()
    for name, (_, setting) in group.rules.items():
        if setting:
            demands |= {name} if setting is True else group.texts(name)
    return Demands(frozenset(demands)) if demands else None


def _one_of(group: Group) -> Constraint:
    """One of some fields is more than at most one of them."""
    texts = group.texts("oneof")
    return Demands(texts | {f"at most {text}" for text in texts if not text.startswith("at most ")})


def _well_known(group: Group) -> Constraint | None:
    """A form of texts. One that knows two degrees is strict unless the rules say otherwise."""
    if "well_known_regex" not in group.rules:
        return _demands(replace(group, rules={name: each for name, each in group.rules.items() if name != "strict"}))
    return Demands(group.texts("well_known_regex") | ({"strict"} if group.get("strict", True) else set()))


def _values(group: Group) -> Constraint | None:
    """The values that all of the rules list."""
    listed = [group.texts(name) for name in ("const", "in") if name in group.rules]
    if group.get("defined_only"):
        assert group.enum is not None
        listed.append(frozenset(str(value.number) for value in group.enum.values))
    return Choice(frozenset.intersection(*listed)) if listed else None


def _limits(group: Group) -> Constraint | None:
    """Between two limits, or outside of them where the lower one is above the upper."""
    least, most = _whole(group.kind)
    lower, upper = _set(group, "gt", "gte"), _set(group, "lt", "lte")
    first = _end(group, lower) if lower else least
    last = _end(group, upper) if upper else most
    is_outside = lower and upper and ordered(group.get(upper)) < ordered(group.get(lower))
    ranges = ((least, last), (first, most)) if is_outside else ((first, last),)
    return None if ranges == ((least, most),) else Ranges(tuple(each for each in ranges if each[0] <= each[1]))


def _set(group: Group, *names: str) -> str | None:
    """The one of these rules that is set."""
    return next((name for name in names if name in group.rules), None)


def _whole(kind: str) -> tuple[End, End]:
    """The ends of all values."""
    least, most = INTEGERS.get(kind, (-math.inf, math.inf))
    return (least,), (most,)


def _end(group: Group, limit: str) -> End:
    """Next to the limit of an integer is another integer; next to that of another value is nothing but its side."""
    side = {"gt": 1, "lt": -1}.get(limit, 0)
    value = ordered(group.get(limit))
    return (value[0] + side,) if group.kind in INTEGERS else (*value, side)


def _sizes(group: Group) -> Constraint | None:
    low = max((group.get(name) for name in group.rules if not name.startswith("max_")), default=0)
    high = min((group.get(name) for name in group.rules if not name.startswith("min_")), default=math.inf)
    if low > high:
        return Ranges(())
    return None if (low, high) == (0, math.inf) else Ranges((((low,), (high,)),))


def _within(group: Group) -> Constraint:
    return Ranges((((-math.inf,), ordered(group.get("within"))),))


# The table

_WELL_KNOWN = Row("well_known", _well_known)
_MESSAGES = Row("messages", _values)
_OPAQUE = ["not_in", "pattern", "prefix", "suffix", "contains", "not_contains", "cel", "cel_expression"]
_LEN, _BYTES, _ITEMS, _PAIRS = (Row(name, _sizes) for name in ("len", "bytes", "items", "pairs"))

_ROWS: dict[str, Row] = {
    **dict.fromkeys(["const", "in", "defined_only"], Row("values", _values)),
    **dict.fromkeys(["gt", "gte", "lt", "lte"], Row("limits", _limits)),
    **dict.fromkeys(["len", "min_len", "max_len"], _LEN),
    **dict.fromkeys(["len_bytes", "min_bytes", "max_bytes"], _BYTES),
    **dict.fromkeys(["min_items", "max_items"], _ITEMS),
    **dict.fromkeys(["min_pairs", "max_pairs"], _PAIRS),
    "within": Row("within", _within),
    "oneof": Row("oneof", _one_of),
    **{name: Row(name, _demands) for name in _OPAQUE},
}
