"""The document: every operation of the contract, with the schemas and responses that they share."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor

from codegen.descriptors import Contract, is_map
from codegen.openapi import errors, examples
from codegen.openapi.access import BEARER, JWT_BEARER, Refusal, access_of, refusals
from codegen.openapi.bindings import Binding, bindings
from codegen.openapi.kinds import Place, Schema
from codegen.openapi.links import links
from codegen.openapi.schemas import Schemas, described, is_component
from codegen.policy import shown

_UNAUTHENTICATED = 16  # chassis.v1.Code
_INFO = {
    "title": "Marketplace",
    "version": "v1",
    "description": "Carts, orders, stock and the catalogue of a marketplace. Generated from the contract: "
    "a request that keeps to this document breaks no rule but those in `x-buf-validate`.",
}


def document(contract: Contract, *, access: bool = False) -> Schema:
    """The OpenAPI 3.1 document of all services, as they are when access is off, or on."""
    found = bindings(contract)
    schemas = Schemas(contract, names(contract, found))
    operations = _Operations(contract, schemas, found, access=access)
    paths: dict[str, Schema] = {}
    for binding in found:
        paths.setdefault(binding.path, {})[binding.verb] = operations.operation(binding)
    services = [service for service in contract.services() if any(contract.http(each) for each in service.methods)]
    return {
        "openapi": "3.1.1",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": service.name, "description": contract.comment(service)} for service in services],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.components, **errors.schemas()}.items())),
            "responses": dict(sorted(operations.responses.items())),
            "securitySchemes": {"bearer": JWT_BEARER if access else BEARER},
        },
    }


class _Operations:
    """Makes operations. The responses that they share collect in `responses`."""

    def __init__(self, contract: Contract, schemas: Schemas, all_bindings: list[Binding], *, access: bool) -> None:
        self.responses: dict[str, Schema] = {}
        self._contract = contract
        self._schemas = schemas
        self._all = all_bindings
        self._is_access_on = access

    def operation(self, binding: Binding) -> Schema:
        policy = self._contract.policy(binding.method)
        summary, rest = _summary(self._contract.comment(binding.method))
        sentences = shown.sentences(self._contract, binding.method, access=self._is_access_on)
        text = "\n\n".join(part for part in (rest, sentences) if part)
        over_parameters = () if binding.has_body else self._schemas.rules_over_parameters(binding.request)
        parts = {
            "tags": [binding.method.containing_service.name],
            "summary": summary,
            **described({}, text, over_parameters),
            "operationId": binding.operation_id,
            "parameters": self._parameters(binding),
            "requestBody": self._body(binding),
            "responses": {
                str(policy.success_status or 200): self._success(binding, policy),
                **errors.responses(self._contract, binding, self.responses, self._refusals(binding)),
            },
            "security": self._security(binding, policy),
            **shown.extensions(self._contract, binding.method),
        }
        return {name: part for name, part in parts.items() if part}

    def _refusals(self, binding: Binding) -> list[Refusal]:
        return refusals(self._contract, binding.method) if self._is_access_on else []

    def _security(self, binding: Binding, policy: Any) -> list[Schema]:
        """A token is needed, or of use, or neither."""
        bearer: Schema = {"bearer": []}
        access = access_of(self._contract, binding.method)
        if access == "TOKEN" or (self._is_access_on and access != "PUBLIC"):
            return [bearer]
        if any(error.code == _UNAUTHENTICATED for error in policy.errors):
            return [{}, bearer]
        return []

    def _parameters(self, binding: Binding) -> list[Schema]:
        places = {"path": binding.path_fields, "query": binding.query_fields}
        parameters = [
            _parameter(
                field.json_name,
                place,
                self._schemas.field(field, Place.PARAMETER),
                required=place == "path" or self._schemas.is_required(field),
            )
            for place, fields in places.items()
            for field in fields
        ]
        request_id = binding.request.fields_by_name.get("request_id")
        if request_id is not None and request_id.type == request_id.TYPE_STRING:
            schema = self._schemas.field(request_id, Place.PARAMETER)
            schema["description"] = f"Stands for `{request_id.json_name}`. Where both are given, they are the same."
            parameters.append(_parameter("Idempotency-Key", "header", schema, required=False))
        return parameters

    def _body(self, binding: Binding) -> Schema | None:
        if not binding.has_body:
            return None
        if binding.path_fields:
            bound = [field.name for field in binding.path_fields]
            schema = self._schemas.message(binding.request, Place.BODY, without=bound)
        else:
            schema = self._schemas.reference(binding.request, Place.BODY)
        example = examples.example(schema, self._schemas.components)
        content = {"schema": schema} | ({} if example is None else {"example": example})
        return {"required": True, "content": {"application/json": content}}

    def _success(self, binding: Binding, policy: Any) -> Schema:
        if policy.success_status == 204:
            return {"description": "Done."}
        schema = self._schemas.reference(binding.response, Place.RESPONSE)
        response = {
            "description": self._contract.comment(binding.response) or "Done.",
            "content": {"application/json": {"schema": schema}},
        }
        following = links(binding, self._all, self._schemas)
        return response | ({"links": following} if following else {})


def _parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    described = {key: schema[key] for key in ("description",) if key in schema}
    plain = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": place, **described, "required": required, "schema": plain}


def _summary(comment: str) -> tuple[str, str]:
    """The first sentence, and the rest."""
    first = re.match(r"(.+?)(?:\.(?=\s|$)|$)\s*", comment, re.MULTILINE)
    return (first[1], comment[first.end() :]) if first else ("", comment)


def names(contract: Contract, found: Iterable[Binding]) -> dict[tuple[str, Place], str]:
    """The name of each schema: the message's own, longer where two messages or both places need it."""
    used: set[tuple[str, Place]] = set()
    for binding in found:
        if binding.has_body:
            _reach(binding.request, Place.BODY, used)
        _reach(binding.response, Place.RESPONSE, used)
    places = Counter(full for full, _ in used)
    short = {full: full.removeprefix(f"{contract.message(full).file.package}.") for full in places}
    times = Counter(short.values())
    suffixes = {Place.BODY: "-Input", Place.RESPONSE: "-Output"}
    return {
        (full, place): (short[full] if times[short[full]] == 1 else full)
        + (suffixes[place] if places[full] > 1 else "")
        for full, place in used
    }


def _reach(message: Descriptor, place: Place, used: set[tuple[str, Place]]) -> None:
    """The message and those inside of it."""
    if (message.full_name, place) in used or not is_component(message):
        return
    used.add((message.full_name, place))
    for field in message.fields:
        inner = field.message_type
        if inner is not None and is_map(field):
            inner = inner.fields_by_name["value"].message_type
        if inner is not None:
            _reach(inner, place, used)
