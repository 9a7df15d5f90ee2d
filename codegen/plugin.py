"""The frame of a plugin of `buf generate` that makes one JSON document of the whole contract."""

import json
import sys
from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from codegen.descriptors import Contract, ContractError


def generated(
    request: plugin_pb2.CodeGeneratorRequest, name: str, document: Callable[[Contract], dict[str, Any]]
) -> plugin_pb2.CodeGeneratorResponse:
    """One file for everything in the request, or an error that names what the document cannot say."""
    features = plugin_pb2.CodeGeneratorResponse
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=features.FEATURE_PROTO3_OPTIONAL | features.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=descriptor_pb2.EDITION_PROTO2,
        maximum_edition=descriptor_pb2.EDITION_2023,
    )
    try:
        content = json.dumps(document(Contract(request)), indent=2, ensure_ascii=False)
    except ContractError as error:
        response.error = str(error)
        return response
    response.file.add(name=name, content=f"{content}\n")
    return response


def run(generate: Callable[[plugin_pb2.CodeGeneratorRequest], plugin_pb2.CodeGeneratorResponse]) -> None:
    """Answers the request on stdin."""
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())
