"""Images of a contract, made by `buf build`."""

import gzip

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from codegen.descriptors import Contract

_GZIP = b"\x1f\x8b"


def contract_of(image: bytes) -> Contract:
    """The contract in an image, which may be compressed."""
    content = gzip.decompress(image) if image.startswith(_GZIP) else image
    files = descriptor_pb2.FileDescriptorSet.FromString(content).file
    return Contract(plugin_pb2.CodeGeneratorRequest(file_to_generate=[file.name for file in files], proto_file=files))
