"""The contract as a plugin sees it: descriptors with their options understood.

The files of a CodeGeneratorRequest go into a pool of their own, and the options
are read again with the message classes of that pool. So an extension such as
`buf.validate.field` is known without a generated Python module.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, cast

import protovalidate
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

Commented = Descriptor | FieldDescriptor | EnumDescriptor | MethodDescriptor | ServiceDescriptor
_Element = Commented | OneofDescriptor


class ContractError(Exception):
    """The contract says something that has no place in what is generated."""


class Contract:
    """The services and messages of a request."""

    def __init__(self, request: plugin_pb2.CodeGeneratorRequest) -> None:
        self._pool = DescriptorPool()
        self._comments: dict[str, str] = {}
        self._required: dict[str, set[str]] = {}
        # One of its own: a validator knows messages by their names.
        self._validator = protovalidate.Validator()
        if not any(file.name == "google/protobuf/descriptor.proto" for file in request.proto_file):
            self._pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
        for file in request.proto_file:
            self._pool.AddSerializedFile(file.SerializeToString())
            self._comments.update(_comments(file))
        self._files = sorted(request.file_to_generate)

    def services(self) -> list[ServiceDescriptor]:
        """The services to generate for, by file and in the order of the file."""
        files = [self._pool.FindFileByName(name) for name in self._files]
        return [service for file in files for service in file.services_by_name.values()]

    def events(self) -> list[Descriptor]:
        """The messages that are events, by file and in the order of the file."""
        files = [self._pool.FindFileByName(name) for name in self._files]
        messages = (message for file in files for message in file.message_types_by_name.values())
        return [message for message in messages if self.event(message) is not None]

    def message(self, full_name: str) -> Descriptor:
        """The message of this name. Raises KeyError if there is none."""
        return self._pool.FindMessageTypeByName(full_name)

    def comment(self, element: Commented) -> str:
        """The leading comment as plain text: a line a paragraph, an empty line between."""
        return self._comments.get(element.full_name, "")

    def field_rules(self, field: FieldDescriptor) -> Any:
        """The buf.validate.FieldRules of a field; None without any."""
        return self._option(field, "buf.validate.field")

    def message_rules(self, message: Descriptor) -> Any:
        """The buf.validate.MessageRules of a message; None without any."""
        return self._option(message, "buf.validate.message")

    def oneof_rules(self, oneof: OneofDescriptor) -> Any:
        """The buf.validate.OneofRules of a oneof; None without any."""
        return self._option(oneof, "buf.validate.oneof")

    def predefined_rules(self, rule: FieldDescriptor) -> Any:
        """What a rule that is an extension means: its buf.validate.PredefinedRules; None without any."""
        return self._option(rule, "buf.validate.predefined")

    def http(self, method: MethodDescriptor) -> Any:
        """The google.api.HttpRule of an RPC; None: it is not served over HTTP."""
        return self._option(method, "google.api.http")

    def policy(self, method: MethodDescriptor) -> Any:
        """The chassis.v1.MethodPolicy of an RPC. Every RPC needs one."""
        policy = self._option(method, "chassis.v1.method")
        if policy is None:
            raise ContractError(f"{method.full_name}: no option (chassis.v1.method)")
        return policy

    def unknown_options(self, method: MethodDescriptor) -> list[str]:
        """The fields and the values of enums, by number, that an RPC's options have and no file defines."""
        return list(_unknown(self._options(method)))

    def event(self, message: Descriptor) -> Any:
        """The chassis.v1.EventPolicy of a message; None: it is no event."""
        return self._option(message, "chassis.v1.event")

    def codes(self) -> dict[int, tuple[str, Any]]:
        """Name (without prefix) and chassis.v1.CodePolicy of each code that means an error, by number."""
        values = self._pool.FindEnumTypeByName("chassis.v1.Code").values
        found = ((value, self._option(value, "chassis.v1.code")) for value in values)
        return {
            value.number: (value.name.removeprefix("CODE_"), policy) for value, policy in found if policy is not None
        }

    def enum_name(self, full_name: str, number: int, prefix: str) -> str:
        """The name of an enum's value, without the prefix; its number if it has no name."""
        value = self._pool.FindEnumTypeByName(full_name).values_by_number.get(number)
        return value.name.removeprefix(prefix) if value is not None else str(number)

    def fields_required(self, message: Descriptor) -> set[str]:
        """The names of the fields that a message must set: those that break a rule in an empty one."""
        if message.full_name not in self._required:
            self._required[message.full_name] = self._broken_when_empty(message)
        return self._required[message.full_name]

    def _broken_when_empty(self, message: Descriptor) -> set[str]:
        try:
            violations: Any = self._validator.collect_violations(GetMessageClass(message)())
        except protovalidate.CompilationError as error:
            raise ContractError(f"{message.full_name}: {error}") from error
        paths = [violation.proto.field.elements for violation in violations if violation.proto.field]
        return {path[0].field_name for path in paths} | {field.name for field in message.fields if field.is_required}

    def _option(self, element: Any, name: str) -> Any:
        try:
            extension = self._pool.FindExtensionByName(name)
        except KeyError:
            return None
        options = self._options(element)
        return options.Extensions[extension] if options.HasExtension(extension) else None

    def _options(self, element: Any) -> Any:
        """The options of an element, with the extensions of the contract."""
        read = element.GetOptions()
        options: Any = GetMessageClass(self._pool.FindMessageTypeByName(read.DESCRIPTOR.full_name))()
        options.MergeFromString(read.SerializeToString())
        return options


def oneofs(message: Descriptor) -> list[OneofDescriptor]:
    """The oneofs that the author wrote, not those that stand for `optional`."""
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    synthetic = {field.oneof_index for field in proto.field if field.proto3_optional}
    return [oneof for oneof in message.oneofs if oneof.index not in synthetic]


def idempotency_level(method: MethodDescriptor) -> str:
    """NO_SIDE_EFFECTS or IDEMPOTENT; IDEMPOTENCY_UNKNOWN where the RPC does not say."""
    return descriptor_pb2.MethodOptions.IdempotencyLevel.Name(method.GetOptions().idempotency_level)


def is_safe_to_repeat(method: MethodDescriptor) -> bool:
    """Whether its level says that a call may be repeated, without a key."""
    return idempotency_level(method) != "IDEMPOTENCY_UNKNOWN"


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether it is a list. A map is none."""
    return field.is_repeated and not is_map(field)


def rules_set(rules: Any) -> list[tuple[FieldDescriptor, Any]]:
    """What a message of rules sets, in the order of its field numbers."""
    return [] if rules is None else cast("list[tuple[FieldDescriptor, Any]]", rules.ListFields())


def proto_json(message: Any) -> Any:
    """A message in proto JSON."""
    return json_format.MessageToDict(message)


def _unknown(message: Any, path: str = "") -> Iterator[str]:
    """The fields and values of a message, and of those inside of it, that have no name."""
    unknown: Any = UnknownFieldSet(message)
    yield from (f"{path}{field.field_number}" for field in unknown)
    for field, value in message.ListFields():
        name = f"{path}({field.full_name})" if field.is_extension else f"{path}{field.name}"
        for each in value if field.is_repeated else [value]:
            yield from _unknown_in(field, each, name)


def _unknown_in(field: FieldDescriptor, value: Any, name: str) -> Iterator[str]:
    if field.message_type is not None:
        yield from _unknown(value, f"{name}.")
    elif field.enum_type is not None and value not in field.enum_type.values_by_number:
        yield f"{name} = {value}"


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        name = _full_name(file, location.path) if location.leading_comments else None
        if name:
            yield name, _plain(location.leading_comments)


def _full_name(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> str | None:
    """The name of the element at a path of source_code_info; None for what has no name of its own."""
    if len(path) % 2:
        return None
    names = [file.package] if file.package else []
    element: Any = file
    for number, index in zip(path[::2], path[1::2], strict=True):
        part = element.DESCRIPTOR.fields_by_number.get(number)
        if part is None or not part.is_repeated or part.message_type is None:
            return None
        element = getattr(element, part.name)[index]
        names.append(getattr(element, "name", ""))
    return ".".join(names)


def _plain(comment: str) -> str:
    """Joins the lines of each paragraph; a line that is indented or begins a list stays its own."""
    text = textwrap.dedent(comment).strip()
    return re.sub(r"(?<=\S)[ ]*\n(?=[^\s*-])", " ", text)
