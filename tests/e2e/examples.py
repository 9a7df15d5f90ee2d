"""A right request to each RPC and to each operation of the document."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.contract.contract import methods
from tests.marketplace import ROOT, SERVICES

RPCS = methods()


@dataclass(frozen=True)
class Operation:
    """A request over HTTP."""

    verb: str
    path: str
    body: Any
    access: str
    """The kind of access that it needs, as the document writes it."""


def operations(**changes: object) -> list[Operation]:
    """As the examples of the document say, but for the parameters and fields that are named here."""
    document = json.loads((ROOT / "gen" / "openapi" / "openapi.json").read_text())
    return [
        _operation(verb, path, operation, changes)
        for path, each in document["paths"].items()
        for verb, operation in each.items()
    ]


def _operation(verb: str, path: str, operation: dict[str, Any], changes: dict[str, object]) -> Operation:
    query = {}
    for parameter in operation.get("parameters", []):
        if not parameter["required"]:
            continue
        name = parameter["name"]
        value = changes.get(name, parameter["schema"]["examples"][0])
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", str(value))
        else:
            query[name] = value
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    if body is not None:
        body = {name: changes.get(name, value) for name, value in body.items()}
    return Operation(verb, f"{path}?{urlencode(query)}", body, operation["x-access"])


def request(rpc: MethodDescriptor, **changes: object) -> Message:
    """A right request, but for the fields that are named here."""
    item = {"sku": 1076963, "count": 1}
    fields = {"user_id": 1, "order_id": 1, **item, "items": [item], **changes}
    said = {name: value for name, value in fields.items() if name in rpc.input_type.fields_by_name}
    return json_format.ParseDict(said, GetMessageClass(rpc.input_type)())


async def call(channel: grpc.aio.Channel, rpc: MethodDescriptor, message: Message, *authorizations: str) -> Any:
    """The answer to a call with these `authorization` headers."""
    method: Any = channel.unary_unary(
        f"/{rpc.containing_service.full_name}/{rpc.name}",
        request_serializer=type(message).SerializeToString,
        response_deserializer=GetMessageClass(rpc.output_type).FromString,
    )
    return await method(message, metadata=[("authorization", value) for value in authorizations], timeout=5)


@asynccontextmanager
async def channels_to(settings: Mapping[str, str]) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """A channel to each service of a marketplace with these settings, by its package."""
    async with AsyncExitStack() as stack:
        yield {
            f"marketplace.{name}.v1": await stack.enter_async_context(
                grpc.aio.insecure_channel(settings[f"{name.upper()}_LISTEN"])
            )
            for name in SERVICES
        }
