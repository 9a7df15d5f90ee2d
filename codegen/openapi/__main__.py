"""Reads a CodeGeneratorRequest, writes the document."""

import json
import sys

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from codegen.descriptors import Contract, ContractError
from codegen.openapi.document import document


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
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
    response.file.add(name="openapi.json", content=f"{content}\n")
    return response


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())


if __name__ == "__main__":
    main()
