"""Errors of calls, as tests speak of them."""

from collections.abc import Awaitable, Iterable
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


async def error_of(call: Awaitable[object]) -> status_pb2.Status:
    """The status with which the call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    trailers = cast("Iterable[tuple[str, bytes]]", raised.value.trailing_metadata())
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no details in {raised.value!r}")


async def reason_of(call: Awaitable[object]) -> tuple[str, str]:
    """The code and the reason with which the call fails."""
    status = await error_of(call)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "marketplace"
    return CODES[status.code].name, info.reason


async def broken_rules_of(call: Awaitable[object]) -> set[tuple[str, str]]:
    """The fields and the rules that the call fails for."""
    status = await error_of(call)
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    assert CODES[status.code] is grpc.StatusCode.INVALID_ARGUMENT
    assert all(violation.description for violation in bad_request.field_violations)
    return {(violation.field, violation.reason) for violation in bad_request.field_violations}


CODES = {code.value[0]: code for code in grpc.StatusCode}
