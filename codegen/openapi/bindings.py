"""The HTTP side of the RPCs: one binding for each verb and path that google.api.http gives."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from codegen.descriptors import Contract, ContractError

_VARIABLE = re.compile(r"\{(\w+)(?:=\*)?\}")


@dataclass(frozen=True)
class Binding:
    """An RPC under one verb and path. Each field of the request comes from one place."""

    method: MethodDescriptor
    operation_id: str
    verb: str
    path: str
    path_fields: tuple[FieldDescriptor, ...]
    query_fields: tuple[FieldDescriptor, ...]
    body_fields: tuple[FieldDescriptor, ...]
    has_body: bool

    @property
    def request(self) -> Descriptor:
        return self.method.input_type

    @property
    def response(self) -> Descriptor:
        return self.method.output_type


def bindings(contract: Contract) -> list[Binding]:
    """Every binding of every RPC, in the order of the contract."""
    methods = [method for service in contract.services() for method in service.methods]
    names = Counter(method.name for method in methods)
    found: list[Binding] = []
    for method in methods:
        name = method.name if names[method.name] == 1 else f"{method.containing_service.name}_{method.name}"
        for number, rule in enumerate(_rules(contract.http(method)), 1):
            found.append(_binding(method, rule, name if number == 1 else f"{name}_{number}"))
    return found


def _rules(rule: Any) -> Iterator[Any]:
    if rule is not None:
        yield rule
        yield from rule.additional_bindings


def _binding(method: MethodDescriptor, rule: Any, operation_id: str) -> Binding:
    verb = rule.WhichOneof("pattern")
    if verb in {None, "custom"} or rule.body not in {"", "*"} or rule.response_body:
        raise ContractError(f"{method.full_name}: only plain verbs, and bodies that are the whole message, are known")
    template = getattr(rule, verb)
    fields = method.input_type.fields_by_name
    names = _VARIABLE.findall(template)
    if "{" in _VARIABLE.sub("", template) or not set(names) <= set(fields):
        raise ContractError(f"{method.full_name}: {template}: a variable is one field of the request and one segment")
    rest = tuple(field for field in method.input_type.fields if field.name not in names)
    return Binding(
        method=method,
        operation_id=operation_id,
        verb=verb,
        path=_VARIABLE.sub(lambda variable: f"{{{fields[variable[1]].json_name}}}", template),
        path_fields=tuple(fields[name] for name in names),
        query_fields=() if rule.body else rest,
        body_fields=rest if rule.body else (),
        has_body=bool(rule.body),
    )
