"""The events of the contract: what each of them is, and that its codec and its broker can carry it."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from codegen.descriptors import Contract, ContractError, oneofs
from codegen.openapi.kinds import INTEGERS

_SCALARS = {FieldDescriptor.TYPE_STRING, *(getattr(FieldDescriptor, f"TYPE_{kind.upper()}") for kind in INTEGERS)}
_TIMESTAMP = "google.protobuf.Timestamp"


@dataclass(frozen=True)
class Event:
    """An event on its topic."""

    message: Descriptor
    topic: str
    partitions: int
    key: FieldDescriptor
    headers: Descriptor | None
    """The message whose fields are its headers; None: it has none."""


def events(contract: Contract) -> list[Event]:
    """Every event, in the order of the contract."""
    return [_event(contract, message) for message in contract.events()]


def header_name(field: FieldDescriptor) -> str:
    return field.name.replace("_", "-")


def _event(contract: Contract, message: Descriptor) -> Event:
    policy = contract.event(message)
    if not policy.topic or not policy.partitions:
        raise ContractError(f"{message.full_name}: (chassis.v1.event) needs a topic and its partitions")
    key = message.fields_by_name.get(policy.key)
    if key is None:
        raise ContractError(f"{message.full_name}: (chassis.v1.event).key: there is no field `{policy.key}`")
    _refuse_oneofs(message)
    _refuse_others(message.fields, may_be_moment=True)
    _refuse_others([key], may_be_moment=False)
    return Event(message, policy.topic, policy.partitions, key, _headers(contract, message, policy.headers))


def _headers(contract: Contract, message: Descriptor, name: str) -> Descriptor | None:
    if not name:
        return None
    try:
        headers = contract.message(name)
    except KeyError as error:
        raise ContractError(f"{message.full_name}: (chassis.v1.event).headers: there is no message {name}") from error
    _refuse_oneofs(headers)
    _refuse_others(headers.fields, may_be_moment=False)
    return headers


def _refuse_oneofs(message: Descriptor) -> None:
    if oneofs(message):
        raise ContractError(f"{message.full_name}: every field of an event is there, so it has no oneof")


def _refuse_others(fields: Iterable[FieldDescriptor], *, may_be_moment: bool) -> None:
    for field in fields:
        moment = may_be_moment and field.message_type is not None and field.message_type.full_name == _TIMESTAMP
        if field.is_repeated or not (moment or field.type in _SCALARS):
            known = "integers, strings and timestamps" if may_be_moment else "integers and strings"
            raise ContractError(f"{field.full_name}: only {known} are known here")
