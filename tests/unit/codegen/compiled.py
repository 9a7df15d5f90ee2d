"""Contracts of a few lines, compiled for one test."""

import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from codegen.descriptors import Contract
from codegen.openapi.kinds import Place, Schema
from codegen.openapi.schemas import Schemas

ROOT = Path(__file__).parents[3]
PROTOS = [ROOT / "api", ROOT / "third_party/proto", Path(str(resources.files("grpc_tools"))) / "_proto"]
_HEAD = 'syntax = "proto3";\npackage test.v1;\n'
_IMPORTS = {
    "buf.validate.": "buf/validate/validate.proto",
    "chassis.v1.": "chassis/v1/options.proto",
    "google.api.": "google/api/annotations.proto",
    "protobuf.Any": "google/protobuf/any.proto",
    "protobuf.Duration": "google/protobuf/duration.proto",
    "protobuf.Empty": "google/protobuf/empty.proto",
    "protobuf.FieldMask": "google/protobuf/field_mask.proto",
    "protobuf.Struct": "google/protobuf/struct.proto",
    "protobuf.Value": "google/protobuf/struct.proto",
    "protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "protobuf.Int64Value": "google/protobuf/wrappers.proto",
    "protobuf.StringValue": "google/protobuf/wrappers.proto",
    "extend buf.validate": "google/protobuf/descriptor.proto",
}


def compiled(names: list[str], *folders: Path) -> plugin_pb2.CodeGeneratorRequest:
    """The request that a plugin gets for these files."""
    files = _described(names, *(f"-I{folder}" for folder in (*folders, *PROTOS)), "--include_source_info")
    return plugin_pb2.CodeGeneratorRequest(file_to_generate=names, proto_file=files.file)


@cache
def request(source: str, folder: Path | None = None) -> plugin_pb2.CodeGeneratorRequest:
    """The request for a file of these declarations; protos of `folder` come before those of the project."""
    with tempfile.TemporaryDirectory() as name:
        imports = tuple(sorted({path for marker, path in _IMPORTS.items() if marker in source}))
        text = "".join(f'import "{path}";\n' for path in imports)
        Path(name, "test.proto").write_text(_HEAD + text + source)
        if folder:
            return compiled(["test.proto"], folder, Path(name))
        known = Path(name, "imports.binpb")
        known.write_bytes(_imported(imports))
        options = (f"-I{name}", f"--descriptor_set_in={known}", "--include_source_info")
        return plugin_pb2.CodeGeneratorRequest(
            file_to_generate=["test.proto"], proto_file=_described(["test.proto"], *options).file
        )


@cache
def _imported(names: tuple[str, ...]) -> bytes:
    """The files that many contracts import: to compile them takes longer than those."""
    if not names:
        return b""
    return _described(names, *(f"-I{folder}" for folder in PROTOS)).SerializeToString()


def _described(names: Sequence[str], *options: str) -> descriptor_pb2.FileDescriptorSet:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "descriptors.binpb"
        assert protoc.main(["protoc", *options, "--include_imports", f"--descriptor_set_out={out}", *names]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


@cache
def contract(source: str, folder: Path | None = None) -> Contract:
    return Contract(request(source, folder))


class Names(dict[tuple[str, Place], str]):
    """Names each message by itself."""

    def __missing__(self, key: tuple[str, Place]) -> str:
        return f"{key[0]}.{key[1].name}"


def message_schema(source: str, place: Place = Place.BODY, folder: Path | None = None) -> Schema:
    """The schema of the message `M`, with all that it refers to."""
    found = contract(source, folder)
    schemas = Schemas(found, Names())
    schema = schemas.message(found.message("test.v1.M"), place)
    return {**schema, "components": {"schemas": schemas.components}}


def class_of(source: str) -> Any:
    """The class of the message `M`."""
    return GetMessageClass(contract(source).message("test.v1.M"))


def field_schema(field: str, place: Place = Place.BODY, more: str = "") -> Any:
    """The schema of the field `f` as it is declared here."""
    return message_schema(declared(field, more), place)["properties"]["f"]


def declared(field: str, more: str = "") -> str:
    return f"{more}\nmessage M {{ {field} }}"
