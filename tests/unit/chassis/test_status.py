"""The way of an error over gRPC and back."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from marketplace.loms.v1.loms_pb2 import OrderCreateRequest

from services.chassis import errors
from services.chassis.rules import BrokenRulesError, check_rules
from services.chassis.status import DETAILS_KEY, GRPC_CODES, of_error, to_error

CLASSES = [cls for cls in errors.AppError.__subclasses__() if cls.__module__ == errors.__name__]
ADDRESS = "ipv4:10.1.2.3:50052"


def received(code: grpc.StatusCode, text: str, details: bytes | None = None) -> grpc.aio.AioRpcError:
    """What a caller gets from its channel."""
    trailers = grpc.aio.Metadata(("other", "x"), *([(DETAILS_KEY, details)] if details is not None else []))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=text)


def sent(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    return received(GRPC_CODES[status.code], status.message, status.SerializeToString())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_arrives_as_it_was_raised(cls: type[errors.AppError]) -> None:
    arrived = to_error(sent(of_error(cls("what happened", reason="REASON", sku=5, user="я"))), "loms")

    assert type(arrived) is cls
    assert (arrived.message, arrived.reason) == ("what happened", "REASON")
    assert arrived.facts == {"sku": "5", "user": "я"}


def test_an_error_of_a_service_arrives_as_the_class_of_its_code() -> None:
    class LateError(errors.AbortedError):
        reason = "LATE"

    arrived = to_error(sent(of_error(LateError("too late"))), "loms")

    assert type(arrived) is errors.AbortedError
    assert arrived.reason == "LATE"


def test_broken_rules_travel_as_a_bad_request_and_are_a_fault_of_the_caller_that_sent_them() -> None:
    with pytest.raises(BrokenRulesError) as raised:
        check_rules(OrderCreateRequest(user_id=-1))
    status = of_error(raised.value)

    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    assert {violation.field for violation in bad_request.field_violations} == {"user_id", "items"}
    arrived = to_error(sent(status), "loms")
    assert isinstance(arrived, errors.InternalError)
    assert arrived.message == "loms answered INVALID_ARGUMENT"


@pytest.mark.parametrize("details", [None, b"\xff", status_pb2.Status(code=14).SerializeToString()])
@pytest.mark.parametrize(
    ("code", "cls", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnavailableError, "loms cannot be reached"),
        (grpc.StatusCode.CANCELLED, errors.UnavailableError, "loms cannot be reached"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError, "loms did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, errors.InternalError, "loms answered UNIMPLEMENTED"),
        (grpc.StatusCode.NOT_FOUND, errors.InternalError, "loms answered NOT_FOUND"),
    ],
)
def test_the_words_of_the_channel_are_not_passed_on(
    code: grpc.StatusCode, cls: type[errors.AppError], message: str, details: bytes | None
) -> None:
    arrived = to_error(received(code, f"failed to connect to {ADDRESS}", details), "loms")

    assert type(arrived) is cls
    assert (arrived.message, arrived.facts) == (message, {})
    assert ADDRESS.encode() not in of_error(arrived).SerializeToString()


def test_a_code_that_no_error_of_ours_has_is_a_fault_even_with_a_reason() -> None:
    status = of_error(errors.NotFoundError("lost", reason="LOST"))
    status.code = grpc.StatusCode.DATA_LOSS.value[0]

    assert type(to_error(sent(status), "loms")) is errors.InternalError
