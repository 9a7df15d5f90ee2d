"""The document: a channel for each topic, with the events that are sent on it."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor

from codegen.asyncapi.events import Event, events, header_name
from codegen.descriptors import Contract, ContractError
from codegen.openapi.kinds import Place, Schema
from codegen.openapi.schemas import Schemas

_BINDING = "0.5.0"  # the version of the bindings of Kafka
_INFO = {
    "title": "Marketplace",
    "version": "v1",
    "description": "The events of a marketplace. Generated from the contract: an event that keeps to this document "
    "breaks no rule but those in `x-buf-validate`.",
}


def document(contract: Contract) -> Schema:
    """The AsyncAPI 3.0 document of all events."""
    found = events(contract)
    names = {event.message.name for event in found}
    if len(names) < len(found):
        raise ContractError("two events have the same name")
    schemas = Schemas(contract, {})
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "channels": _channels(found),
        "operations": {f"send{event.message.name}": _operation(event) for event in found},
        "components": {
            "messages": {event.message.name: _message(contract, schemas, event) for event in found},
            "schemas": {event.message.name: schemas.message(event.message, Place.EVENT) for event in found},
        },
    }


def _channels(found: Iterable[Event]) -> dict[str, Schema]:
    """The topics. Events that share one agree on its partitions."""
    channels: dict[str, Schema] = {}
    for event in found:
        bindings = {"kafka": {"topic": event.topic, "partitions": event.partitions, "bindingVersion": _BINDING}}
        channel = channels.setdefault(event.topic, {"address": event.topic, "messages": {}, "bindings": bindings})
        if channel["bindings"] != bindings:
            raise ContractError(f"{event.message.full_name}: another event says {event.topic} has other partitions")
        channel["messages"][event.message.name] = {"$ref": f"#/components/messages/{event.message.name}"}
    return channels


def _operation(event: Event) -> Schema:
    channel = f"#/channels/{event.topic}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event.message.name}"}],
    }


def _message(contract: Contract, schemas: Schemas, event: Event) -> Schema:
    name = event.message.name
    summary = contract.comment(event.message)
    headers = {"headers": _headers(schemas, event.headers)} if event.headers else {}
    return {
        "name": name,
        "contentType": "application/json",
        **({"description": summary} if summary else {}),
        **headers,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": schemas.field(event.key, Place.KEY), "bindingVersion": _BINDING}},
    }


def _headers(schemas: Schemas, headers: Descriptor) -> Schema:
    """The headers, each as text. A broker or a tracer may add some, so others are right as well."""
    properties = {header_name(field): schemas.field(field, Place.KEY) for field in headers.fields}
    return {"type": "object", "properties": properties, "required": list(properties)}
