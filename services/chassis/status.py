"""The one mapping between our errors and what travels over gRPC."""

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.chassis import errors
from services.chassis.rules import BrokenRulesError

DOMAIN = "marketplace"
DETAILS_KEY = "grpc-status-details-bin"

GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_CLASSES: dict[int, type[errors.AppError]] = {cls.code: cls for cls in errors.AppError.__subclasses__()}


def of_error(error: errors.AppError) -> status_pb2.Status:
    """The status of an error. Its detail is a google.rpc.BadRequest for broken rules and else a
    google.rpc.ErrorInfo with reason and facts.
    """
    detail = Any()
    if isinstance(error, BrokenRulesError):
        detail.Pack(error.bad_request)
    else:
        detail.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts))
    return status_pb2.Status(code=error.code, message=error.message, details=[detail])


def to_error(rpc_error: grpc.aio.AioRpcError, service: str) -> errors.AppError:
    """What a call to `service` ended with, as our error.

    Its own text is kept only where the service itself has sent it: what the
    channel says (addresses, sockets) is nobody's business.
    """
    code = rpc_error.code().value[0]
    info = _error_info(rpc_error)
    if info is not None and code in _CLASSES:
        error = _CLASSES[code](rpc_error.details() or "", reason=info.reason)
        error.facts = dict(info.metadata)
        return error
    match rpc_error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceededError(f"{service} did not answer in time")
        case grpc.StatusCode.UNAVAILABLE:
            return errors.UnavailableError(f"{service} cannot be reached")
        case _:
            return errors.InternalError(f"{service} answered {rpc_error.code().name}")


def _error_info(rpc_error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in cast("Iterable[tuple[str, str | bytes]]", rpc_error.trailing_metadata()):
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            return None
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    return None
