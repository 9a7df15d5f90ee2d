"""What every RPC of the marketplace has to say of itself."""

import grpc
import pytest
from chassis.v1 import options_pb2 as options
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from codegen.descriptors import Contract
from codegen.policy.checks import findings
from services.chassis.status import GRPC_CODES
from tests.contract.contract import listed, methods, policy
from tests.marketplace import SERVICES
from tests.unit.codegen.compiled import ROOT, compiled

every_rpc = pytest.mark.parametrize("method", methods(), ids=lambda method: str(method.full_name))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_an_rpc(service: str) -> None:
    assert methods(service)


def test_no_policy_has_a_mistake() -> None:
    api = ROOT / "api"
    contract = Contract(compiled([path.relative_to(api).as_posix() for path in sorted(api.rglob("*.proto"))]))
    checked = {method.full_name for service in contract.services() for method in service.methods}

    assert checked == {method.full_name for method in methods()}
    assert [str(each) for each in findings(contract)] == []


@every_rpc
def test_no_call_may_take_more_than_a_minute(method: MethodDescriptor) -> None:
    assert policy(method).max_deadline <= 60


@every_rpc
def test_an_rpc_is_served_over_http(method: MethodDescriptor) -> None:
    rule = method.GetOptions().Extensions[annotations_pb2.http]

    for binding in (rule, *rule.additional_bindings):
        assert str(getattr(binding, binding.WhichOneof("pattern"))).startswith("/")


@every_rpc
def test_an_rpc_lists_each_error_with_a_sentence(method: MethodDescriptor) -> None:
    assert all(error.description.endswith(".") for error in method.GetOptions().Extensions[options.method].errors)


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
