"""The contract of the marketplace, for tests to look through."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor

from services.chassis.contract import Rpc, rpc
from services.chassis.errors import AppError
from services.chassis.status import GRPC_CODES
from tests.marketplace import ROOT

Outcome = tuple[str, str]
"""A code and a reason."""


@cache
def files() -> list[FileDescriptor]:
    """The files of api/marketplace."""
    paths = sorted((ROOT / "api" / "marketplace").rglob("*.proto"))
    names = [path.relative_to(ROOT / "api").with_suffix("").as_posix().replace("/", ".") for path in paths]
    return [import_module(f"{name}_pb2").DESCRIPTOR for name in names]


def messages() -> list[Descriptor]:
    return [message for file in files() for message in file.message_types_by_name.values()]


def services() -> dict[str, ServiceDescriptor]:
    """What each service serves, by the name of its folder."""
    return {file.name.split("/")[1]: each for file in files() for each in file.services_by_name.values()}


def methods(service: str = "") -> list[MethodDescriptor]:
    """Every RPC, or those of one service."""
    return [one for name, each in services().items() for one in each.methods if service in {"", name}]


def policy(method: MethodDescriptor) -> Rpc:
    return rpc(f"/{method.containing_service.full_name}/{method.name}")


def listed(rpc_: Rpc) -> set[Outcome]:
    """How the RPC says that it may fail, besides the common ways."""
    return {(GRPC_CODES[code].name, reason) for code, reason in rpc_.catalogue}


def outcome(error: AppError | type[AppError]) -> Outcome:
    return GRPC_CODES[error.code].name, error.reason


def errors_of(service: str) -> list[type[AppError]]:
    """The errors that the code of a service defines."""
    import_module(f"services.{service}.__main__")  # and with it all its modules
    return [cls for cls in _below(AppError) if cls.__module__.startswith(f"services.{service}.")]


def _below(cls: type[AppError]) -> Iterator[type[AppError]]:
    for one in cls.__subclasses__():
        yield one
        yield from _below(one)


def rules(field: Any) -> Any:
    """The buf.validate.FieldRules of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]
