"""Reads a CodeGeneratorRequest, writes the document."""

from google.protobuf.compiler import plugin_pb2

from codegen import plugin
from codegen.asyncapi.document import document


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """The file asyncapi.json, or an error that names what it cannot say."""
    return plugin.generated(request, "asyncapi.json", document)


if __name__ == "__main__":
    plugin.run(generate)
