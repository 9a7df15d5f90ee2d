"""The module that schemathesis loads beside the document: what a reader of the document alone cannot know.

It says from which message and route each operation comes, and which rules JSON Schema cannot
express: a case that is meant to be right and breaks nothing but these is no case.
"""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor

from codegen.descriptors import Contract
from codegen.openapi.access import access_of
from codegen.openapi.bindings import Binding, bindings
from codegen.openapi.document import names
from codegen.openapi.kinds import Place
from codegen.openapi.schemas import Schemas

_HEAD = '"""What schemathesis.toml loads. Generated from api/ by codegen.openapi: do not edit."""\n'


def hooks(contract: Contract) -> str:
    """The source of the module."""
    found = bindings(contract)
    modules = sorted({_module(binding.request) for binding in found})
    lines = [
        _HEAD,
        *(f"import {module}" for module in modules),
        "from tests.fuzz.hooks import Operation, register",
        "",
        "register(",
        "    operations=[",
        *(f"        {_operation(contract, binding)}," for binding in found),
        "    ],",
        "    inexpressible={",
        *(f'        "{owner}": {_shown(ids)},' for owner, ids in sorted(_left(contract, found).items())),
        "    },",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _operation(contract: Contract, binding: Binding) -> str:
    message = binding.request
    request = f"{_module(message)}.{message.full_name.removeprefix(f'{message.file.package}.')}"
    template = binding.path
    for field in binding.path_fields:
        template = template.replace(f"{{{field.json_name}}}", f"{{{field.name}}}")
    parts = [f'"{binding.operation_id}"', f'"{binding.verb.upper()}"', f'"{template}"', request]
    parts += [f"has_body={binding.has_body}", f'access="{access_of(contract, binding.method).lower()}"']
    if user_field := contract.policy(binding.method).user_field:
        parts.append(f'user_field="{user_field}"')
    return f"Operation({', '.join(parts)})"


def _left(contract: Contract, found: Iterable[Binding]) -> dict[str, set[str]]:
    """The ids of the rules that the document names and cannot wholly express, by field or message."""
    schemas = Schemas(contract, names(contract, found))
    for binding in found:
        for field in (*binding.path_fields, *binding.query_fields):
            schemas.field(field, Place.PARAMETER)
        if not binding.has_body:
            schemas.rules_over_parameters(binding.request)
        else:
            schemas.message(binding.request, Place.BODY, without=[field.name for field in binding.path_fields])
    return schemas.left


def _module(message: Descriptor) -> str:
    """The Python module of a message, as protoc names it."""
    return f"{message.file.name.removesuffix('.proto').replace('-', '_').replace('/', '.')}_pb2"


def _shown(ids: set[str]) -> str:
    return f"{{{', '.join(repr(each) for each in sorted(ids))}}}"
