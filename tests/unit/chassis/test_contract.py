"""The policy of an RPC, read from the descriptors of small contracts."""

import pytest
from chassis.v1 import options_pb2 as options
from google.protobuf import descriptor_pool

from services.chassis import contract
from services.chassis.contract import COMMON_CODES, ContractError, Rpc
from tests.unit.codegen.compiled import request

DEADLINE = "deadline: {default: {seconds: 1, nanos: 500000000} max: {seconds: 30}}"


def rpc_with(policy: str, monkeypatch: pytest.MonkeyPatch) -> Rpc:
    """The RPC `S/Do` with this policy."""
    option = f"option (chassis.v1.method) = {{{policy}}};" if policy else ""
    pool = descriptor_pool.DescriptorPool()
    for file in request(f"message M {{}} service S {{ rpc Do(M) returns (M) {{ {option} }} }}").proto_file:
        pool.AddSerializedFile(file.SerializeToString())
    monkeypatch.setattr(descriptor_pool, "Default", lambda: pool)
    return contract.rpc("/test.v1.S/Do")


def test_an_rpc_has_the_policy_that_its_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = 'errors: {code: CODE_NOT_FOUND reason: "GONE"} errors: {code: CODE_ABORTED reason: "LATE"}'

    assert rpc_with(f"access: ACCESS_TOKEN {DEADLINE} {listed}", monkeypatch) == Rpc(
        name="S/Do",
        path="/test.v1.S/Do",
        access=options.ACCESS_TOKEN,
        default_deadline=1.5,
        max_deadline=30,
        catalogue=frozenset({(options.CODE_NOT_FOUND, "GONE"), (options.CODE_ABORTED, "LATE")}),
    )


def test_an_rpc_may_end_as_listed_or_with_a_common_code(monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = rpc_with(f'access: ACCESS_PUBLIC {DEADLINE} errors: {{code: CODE_ABORTED reason: "LATE"}}', monkeypatch)

    assert rpc.allows(options.CODE_ABORTED, "LATE")
    assert not rpc.allows(options.CODE_ABORTED, "EARLY")
    assert not rpc.allows(options.CODE_NOT_FOUND, "LATE")
    assert rpc.allows(options.CODE_UNAVAILABLE, "ANY")


def test_the_common_codes_are_those_of_the_contract() -> None:
    assert {
        options.CODE_INVALID_ARGUMENT, options.CODE_DEADLINE_EXCEEDED, options.CODE_INTERNAL, options.CODE_UNAVAILABLE,
    } == COMMON_CODES  # fmt: skip


@pytest.mark.parametrize("policy", ["", DEADLINE, f"access: ACCESS_UNSPECIFIED {DEADLINE}"])
def test_an_rpc_needs_an_access(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"^test.v1.S.Do: .*access is missing"):
        rpc_with(policy, monkeypatch)


@pytest.mark.parametrize(
    "deadline",
    [
        "",
        "deadline: {}",
        "deadline: {max: {seconds: 30}}",
        "deadline: {default: {seconds: 5}}",
        "deadline: {default: {seconds: -1} max: {seconds: 30}}",
        "deadline: {default: {seconds: 31} max: {seconds: 30}}",
    ],
)
def test_an_rpc_needs_a_deadline_within_its_maximum(deadline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"^test.v1.S.Do: .*deadline needs 0 < default <= max"):
        rpc_with(f"access: ACCESS_PUBLIC {deadline}", monkeypatch)
