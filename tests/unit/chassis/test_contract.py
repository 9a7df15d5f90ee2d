"""The policy of an RPC, read from the descriptors of small contracts."""

import pytest
from chassis.v1 import options_pb2 as options
from google.protobuf import descriptor_pool
from marketplace.loms.v1 import loms_pb2

from services.chassis import contract
from services.chassis.contract import COMMON_CODES, CacheTimes, ContractError, Rate, Retry, Rpc
from tests.unit.codegen.compiled import request

DEADLINE = "max_concurrent: 9 deadline: {default: {seconds: 1, nanos: 500000000} max: {seconds: 30}}"
CALLERS = """
retry: {attempts: 3 codes: CODE_UNAVAILABLE initial_backoff: {nanos: 50000000} max_backoff: {seconds: 1}}
rate_limit: {per_second: 10 burst: 5 scope: SCOPE_SHARED}
cache: {time_to_live: {seconds: 60} stale_time: {seconds: 600}}
"""


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
        catalogue=frozenset(
            {
                (options.CODE_NOT_FOUND, "GONE"),
                (options.CODE_ABORTED, "LATE"),
                (options.CODE_UNAUTHENTICATED, "TOKEN_INVALID"),
            }
        ),
        user_field="",
        idempotency_key="",
        retry=None,
        rate=None,
        cache=None,
        max_concurrent=9,
    )


def test_an_rpc_has_the_policy_for_those_who_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = 'user_field: "user_id" idempotency_key: "request_id"'

    rpc = rpc_with(f"access: ACCESS_OWN_USER {named} {DEADLINE} {CALLERS}", monkeypatch)

    assert (rpc.user_field, rpc.idempotency_key) == ("user_id", "request_id")
    assert rpc.retry == Retry(3, frozenset({options.CODE_UNAVAILABLE}), initial_backoff=0.05, max_backoff=1)
    assert rpc.rate == Rate(per_second=10, burst=5, is_shared=True)
    assert rpc.cache == CacheTimes(time_to_live=60, stale=600)


def test_a_request_may_be_repeated_if_it_has_the_key_that_its_rpc_asks_for() -> None:
    create = contract.rpc("/marketplace.loms.v1.LomsService/OrderCreate")

    assert create.may_be_repeated(loms_pb2.OrderCreateRequest(request_id=""))
    assert not create.may_be_repeated(loms_pb2.OrderCreateRequest())
    assert contract.rpc("/marketplace.loms.v1.LomsService/StocksInfo").may_be_repeated(loms_pb2.StocksInfoRequest())


def test_an_rpc_may_end_as_listed_or_with_a_common_code(monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = rpc_with(f'access: ACCESS_PUBLIC {DEADLINE} errors: {{code: CODE_ABORTED reason: "LATE"}}', monkeypatch)

    assert rpc.allows(options.CODE_ABORTED, "LATE")
    assert not rpc.allows(options.CODE_ABORTED, "EARLY")
    assert not rpc.allows(options.CODE_NOT_FOUND, "LATE")
    assert rpc.allows(options.CODE_UNAVAILABLE, "ANY")


def test_the_common_codes_are_those_of_the_contract() -> None:
    assert {
        options.CODE_INVALID_ARGUMENT, options.CODE_DEADLINE_EXCEEDED, options.CODE_RESOURCE_EXHAUSTED,
        options.CODE_INTERNAL, options.CODE_UNAVAILABLE,
    } == COMMON_CODES  # fmt: skip


@pytest.mark.parametrize("policy", ["", DEADLINE, f"access: ACCESS_UNSPECIFIED {DEADLINE}"])
def test_an_rpc_needs_an_access(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match=r"^test.v1.S.Do: .*access is missing"):
        rpc_with(policy, monkeypatch)


def test_an_rpc_needs_a_limit_of_calls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = f"access: ACCESS_PUBLIC {DEADLINE}".replace("max_concurrent: 9", "")

    with pytest.raises(ContractError, match=r"^test.v1.S.Do: .*max_concurrent is missing"):
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
