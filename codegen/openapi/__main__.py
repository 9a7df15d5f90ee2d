"""Reads a CodeGeneratorRequest, writes both documents and what schemathesis needs beside them."""

from functools import partial

from google.protobuf.compiler import plugin_pb2

from codegen import plugin
from codegen.descriptors import Contract
from codegen.openapi.document import document
from codegen.openapi.hooks import hooks


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """The documents for access off and on, and schemathesis_hooks.py; or an error that names what they cannot say."""
    response = plugin.generated(request, "openapi.json", document)
    response.MergeFrom(plugin.generated(request, "openapi-access.json", partial(document, access=True)))
    if response.error:
        response.ClearField("file")
    else:
        response.file.add(name="schemathesis_hooks.py", content=hooks(Contract(request)))
    return response


if __name__ == "__main__":
    plugin.run(generate)
