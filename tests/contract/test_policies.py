"""What every RPC of the marketplace has to say of itself."""

import grpc
import pytest
from chassis.v1 import options_pb2 as options
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from services.chassis.status import GRPC_CODES
from tests.contract.contract import SERVICES, listed, methods, policy

every_rpc = pytest.mark.parametrize("method", methods(), ids=lambda method: str(method.full_name))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_an_rpc(service: str) -> None:
    assert methods(service)


@every_rpc
def test_an_rpc_has_an_access_and_a_deadline(method: MethodDescriptor) -> None:
    described = policy(method)

    assert described.access in options.Access.values()
    assert 0 < described.default_deadline <= described.max_deadline <= 60


@every_rpc
def test_an_rpc_succeeds_with_a_status_for_its_answer(method: MethodDescriptor) -> None:
    status = method.GetOptions().Extensions[options.method].success_status

    assert status in (0, 200, 201, 202, 204)
    assert status != 204 or not method.output_type.fields, "an answer with fields has a body"


@every_rpc
def test_an_rpc_is_served_over_http(method: MethodDescriptor) -> None:
    rule = method.GetOptions().Extensions[annotations_pb2.http]

    for binding in (rule, *rule.additional_bindings):
        assert str(getattr(binding, binding.WhichOneof("pattern"))).startswith("/")


@every_rpc
def test_an_rpc_lists_each_error_once_and_with_a_sentence(method: MethodDescriptor) -> None:
    errors = method.GetOptions().Extensions[options.method].errors

    assert len({(error.code, error.reason) for error in errors}) == len(errors)
    assert all(error.code and error.reason.isupper() and error.description.endswith(".") for error in errors)


@every_rpc
def test_an_rpc_that_needs_a_token_says_how_it_refuses_others(method: MethodDescriptor) -> None:
    described = policy(method)

    assert described.access != options.ACCESS_TOKEN or ("UNAUTHENTICATED", "TOKEN_INVALID") in listed(described)


def test_the_codes_of_the_contract_are_those_of_grpc() -> None:
    ours = {number: name.removeprefix("CODE_") for name, number in options.Code.items()}
    theirs = {code.value[0]: code.name for code in grpc.StatusCode}

    assert ours == theirs | {0: "UNSPECIFIED"}
    assert {number: code.name for number, code in GRPC_CODES.items()} == theirs


@pytest.mark.parametrize("code", [code for code in options.Code.values() if code])
def test_every_code_has_an_http_status_for_errors(code: options.Code.ValueType) -> None:
    value = options.Code.DESCRIPTOR.values_by_number[code]

    assert 400 <= value.GetOptions().Extensions[options.code].http_status < 600
