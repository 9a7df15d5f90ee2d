"""The messages of two contracts: what the rules of one let through and those of the other do not.

A request that was right has to stay right, so a rule of it must not get tighter. Who reads
an answer or an event relies on its rules, so they must not get looser.
"""

import enum
from collections import defaultdict
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from codegen.breaking import rules
from codegen.breaking.rules import Saids
from codegen.breaking.strictness import Change, changes
from codegen.descriptors import Contract
from codegen.findings import Element, Finding, finding


class Side(enum.Enum):
    """Where a message is used."""

    REQUEST = "request"
    RESPONSE = "response"
    EVENT = "event"


_HARMLESS = {Side.REQUEST: Change.LOOSENED, Side.RESPONSE: Change.TIGHTENED, Side.EVENT: Change.TIGHTENED}


def findings(old: Contract, new: Contract) -> Iterator[Finding]:
    """What breaks a user of the old contract. Messages and fields that are gone are the matter of `buf breaking`."""
    for name, sides in _used(old).items():
        try:
            message = new.message(name)
        except KeyError:
            continue
        for side in sorted(sides, key=list(Side).index):
            yield from _Comparison(old, new, side).message(old.message(name), message)


class _Comparison:
    """Compares what is used on one side."""

    def __init__(self, old: Contract, new: Contract, side: Side) -> None:
        self._old = old
        self._new = new
        self._side = side

    def message(self, old: Descriptor, new: Descriptor) -> Iterator[Finding]:
        yield from self._rules(new, rules.of_message(self._old, old), rules.of_message(self._new, new))
        for oneof in new.oneofs:
            before = old.oneofs_by_name.get(oneof.name)
            known = rules.of_oneof(self._old, before) if before is not None else {}
            yield from self._rules(oneof, known, rules.of_oneof(self._new, oneof))
        for field in new.fields:
            yield from self._field(old.fields_by_number.get(field.number), field)

    def _field(self, old: FieldDescriptor | None, new: FieldDescriptor) -> Iterator[Finding]:
        if old is None:
            yield from self._added(new)
        else:
            yield from self._rules(new, rules.of_field(self._old, old), rules.of_field(self._new, new))

    def _added(self, field: FieldDescriptor) -> Iterator[Finding]:
        assert field.containing_type
        if self._side is Side.EVENT:
            yield finding(field, "event field added: a reader takes exactly the fields that it knows")
        if self._side is Side.REQUEST and field.name in self._new.fields_required(field.containing_type):
            yield finding(field, "request field added that must be set")

    def _rules(self, element: Element, old: Saids, new: Saids) -> Iterator[Finding]:
        for change, text in changes(old, new):
            if change is not _HARMLESS[self._side]:
                yield finding(element, f"{self._side.value} rule {change.value}: {text}")


def _used(contract: Contract) -> dict[str, set[Side]]:
    """The messages that RPCs and events use, and those inside of them, with their sides."""
    used: dict[str, set[Side]] = defaultdict(set)
    for service in contract.services():
        for method in service.methods:
            _reach(contract, method.input_type, Side.REQUEST, used)
            _reach(contract, method.output_type, Side.RESPONSE, used)
    for event in contract.events():
        _reach(contract, event, Side.EVENT, used)
        if headers := contract.event(event).headers:
            _reach(contract, contract.message(headers), Side.EVENT, used)
    return used


def _reach(contract: Contract, message: Descriptor, side: Side, used: dict[str, set[Side]]) -> None:
    if side in used[message.full_name]:
        return
    used[message.full_name].add(side)
    for field in message.fields:
        if field.message_type is not None and not rules.is_ignored(contract, field):
            _reach(contract, field.message_type, side, used)
