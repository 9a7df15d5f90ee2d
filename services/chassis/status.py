"""The one mapping between our errors and what travels over gRPC."""

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import grpc
from chassis.v1 import options_pb2 as options
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from services.chassis import errors
from services.chassis.rules import BrokenRulesError
from services.chassis.traces import Attributes

M = TypeVar("M", bound=Message)

DOMAIN = "marketplace"
DETAILS_KEY = "grpc-status-details-bin"

GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
CODE_ATTRIBUTES: Mapping[str, Attributes] = {
    code.name: {"rpc.grpc.status_code": code.value[0]} for code in grpc.StatusCode
}
"""What a span tells of each gRPC code."""

_CLASSES: dict[int, type[errors.AppError]] = {cls.code: cls for cls in errors.AppError.__subclasses__()}


def of_error(error: errors.AppError) -> status_pb2.Status:
    """The status of an error. Its detail is a google.rpc.BadRequest for broken rules and else a
    google.rpc.ErrorInfo with reason and facts; that of an overload has a google.rpc.RetryInfo, too.
    """
    details: list[Message] = []
    if isinstance(error, BrokenRulesError):
        details.append(error.bad_request)
    else:
        details.append(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts))
    if isinstance(error, errors.OverloadedError):
        delay = Duration(nanos=round(error.retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=error.code, message=error.message, details=map(_packed, details))


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed


def to_error(rpc_error: grpc.aio.AioRpcError, service: str) -> errors.AppError:
    """What a call to `service` ended with, as our error.

    Its own text is kept only where the service itself has sent it: what the
    channel says (addresses, sockets) is nobody's business.
    """
    code = code_of(rpc_error)
    info = _detail(rpc_error, error_details_pb2.ErrorInfo)
    if info is not None and code in _CLASSES:
        error = _CLASSES[code](rpc_error.details() or "", reason=info.reason)
        error.facts = dict(info.metadata)
        return error
    match code:
        case options.CODE_DEADLINE_EXCEEDED:
            return errors.DeadlineExceededError(f"{service} did not answer in time")
        case options.CODE_UNAVAILABLE:
            return errors.UnavailableError(f"{service} cannot be reached")
        case _:
            return errors.InternalError(f"{service} answered {rpc_error.code().name}")


def code_of(rpc_error: grpc.aio.AioRpcError) -> int:
    """The number of its code. A server that stops, or has too much to do, cancels calls that it has not looked
    at (grpc/grpc issue 41785): that is UNAVAILABLE. Calls that are cancelled on this side raise no RPC error.
    """
    code: int = rpc_error.code().value[0]
    return options.CODE_UNAVAILABLE if code == options.CODE_CANCELLED else code


def retry_delay(rpc_error: grpc.aio.AioRpcError) -> float:
    """How many seconds the service wants to be left alone: 0 if it does not say."""
    info = _detail(rpc_error, error_details_pb2.RetryInfo)
    return info.retry_delay.ToTimedelta().total_seconds() if info else 0.0


def _detail(rpc_error: grpc.aio.AioRpcError, kind: type[M]) -> M | None:
    """The detail of this kind."""
    for key, value in cast("Iterable[tuple[str, str | bytes]]", rpc_error.trailing_metadata()):
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            return None
        for packed in status.details:
            detail = kind()
            if packed.Unpack(detail):
                return detail
    return None
