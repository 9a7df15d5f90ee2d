"""Reads a CodeGeneratorRequest, writes the document and what schemathesis needs beside it."""

from google.protobuf.compiler import plugin_pb2

from codegen import plugin
from codegen.descriptors import Contract
from codegen.openapi.document import document
from codegen.openapi.hooks import hooks


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """The files openapi.json and schemathesis_hooks.py, or an error that names what the document cannot say."""
    response = plugin.generated(request, "openapi.json", document)
    if not response.error:
        response.file.add(name="schemathesis_hooks.py", content=hooks(Contract(request)))
    return response


if __name__ == "__main__":
    plugin.run(generate)
