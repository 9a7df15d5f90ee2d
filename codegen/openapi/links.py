"""Links: which calls may follow a call, with what it hands on to them.

A call that changes something hands on the fields of its answer. When the answer is empty, the
variables of its path name the thing that it changed, and it hands those on, within its own service.
A call may follow when it gets everything that it needs in this way, by name and type.
"""

from collections.abc import Iterable

from google.protobuf.descriptor import FieldDescriptor

from codegen.openapi.bindings import Binding
from codegen.openapi.kinds import Schema
from codegen.openapi.schemas import Schemas

_Handed = dict[tuple[str, int], str]  # name and type of a field: the runtime expression of its value


def links(binding: Binding, others: Iterable[Binding], schemas: Schemas) -> dict[str, Schema]:
    """The links of the success response of an operation, by the operation they lead to."""
    if binding.verb in {"get", "delete"}:
        return {}
    handed = _answer(binding) or _path(binding)
    service = None if binding.response.fields else binding.method.containing_service
    targets = [
        other
        for other in others
        if other.method != binding.method and service in {None, other.method.containing_service}
    ]
    return {
        target.operation_id: _link(target, handed)
        for target in targets
        if (needed := _needed(target, schemas)) and needed <= handed.keys()
    }


def _answer(binding: Binding) -> _Handed:
    fields = [field for field in binding.response.fields if _is_scalar(field)]
    return {_key(field): f"$response.body#/{field.json_name}" for field in fields}


def _path(binding: Binding) -> _Handed:
    return {_key(field): f"$request.path.{field.json_name}" for field in binding.path_fields}


def _needed(binding: Binding, schemas: Schemas) -> set[tuple[str, int]]:
    return {_key(field) for field in binding.request.fields if schemas.is_required(field)}


def _link(target: Binding, handed: _Handed) -> Schema:
    link: Schema = {"operationId": target.operation_id}
    places = {"path": target.path_fields, "query": target.query_fields}
    parameters = {
        f"{place}.{field.json_name}": handed[_key(field)]
        for place, fields in places.items()
        for field in fields
        if _key(field) in handed
    }
    body = {field.json_name: handed[_key(field)] for field in target.body_fields if _key(field) in handed}
    return link | ({"parameters": parameters} if parameters else {}) | ({"requestBody": body} if body else {})


def _is_scalar(field: FieldDescriptor) -> bool:
    return field.message_type is None and not field.is_repeated


def _key(field: FieldDescriptor) -> tuple[str, int]:
    return field.name, field.type
