"""The operations of the contract as they are on the wire."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from protovalidate import FieldPathPb

from services.chassis.rules import field_path

Broken = frozenset[tuple[str, str]]
"""Fields with the ids of the rules that they break."""


@dataclass(frozen=True)
class Operation:
    """One verb and path of an RPC. The variables of the path are fields of the request."""

    id: str
    verb: str
    path: str
    request: type[Message]
    has_body: bool
    access: str
    """The kind of access that it needs, as the document writes it."""
    user_field: str = ""
    """The field that names the user whose own it is, if its access asks for that."""

    @property
    def descriptor(self) -> Descriptor:
        return cast("Descriptor", self.request.DESCRIPTOR)

    @property
    def segments(self) -> list[str]:
        return self.path[1:].split("/")

    @property
    def bound(self) -> list[str]:
        """The names of the fields in the path."""
        return [segment[1:-1] for segment in self.segments if segment.startswith("{")]

    @property
    def in_query(self) -> dict[str, FieldDescriptor]:
        """The fields in the query, by the names of their parameters."""
        fields = [] if self.has_body else [each for each in self.descriptor.fields if each.name not in self.bound]
        return {each.json_name: each for each in fields}


@dataclass(frozen=True)
class Contract:
    """The operations, and the rules that the document names but cannot wholly express, by field or message."""

    operations: tuple[Operation, ...]
    inexpressible: Mapping[str, Iterable[str]]
    # One of its own: a validator knows messages by their names.
    _validator: protovalidate.Validator = field(default_factory=protovalidate.Validator)

    def broken(self, message: Message) -> Broken:
        """The rules that a message breaks."""
        return frozenset((_path(each.field), each.rule_id) for each in self._violations(message))

    def breaks_only_inexpressible(self, message: Message) -> bool:
        """Whether it breaks a rule, and none that a reader of the document could keep."""
        violations = self._violations(message)
        return bool(violations) and all(
            any(
                each.rule_id in self.inexpressible.get(owner, ())
                for owner in _owners(cast("Descriptor", message.DESCRIPTOR), each.field)
            )
            for each in violations
        )

    def _violations(self, message: Message) -> list[Any]:
        found: list[Any] = self._validator.collect_violations(message)
        return [each.proto for each in found]


def _path(path: FieldPathPb | None) -> str:
    return field_path(path) if path is not None else ""


def _owners(descriptor: Descriptor, path: FieldPathPb | None) -> list[str]:
    """Whose rule it may be: the field's at the end of a path, or that of the message there."""
    here: Descriptor | None = descriptor
    owners = [descriptor.full_name]
    for element in path.elements if path is not None else ():
        assert here
        found: FieldDescriptor = here.fields_by_name[element.field_name or ""]
        here = found.message_type
        if here is not None and here.GetOptions().map_entry:
            here = here.fields_by_name["value"].message_type
        owners = [found.full_name, *([here.full_name] if here is not None else [])]
    return owners
