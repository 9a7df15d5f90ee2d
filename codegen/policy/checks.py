"""Mistakes in the policies of a contract: what is missing, what cannot be, and what contradicts something else."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from codegen.descriptors import Contract, ContractError, idempotency_level, is_safe_to_repeat
from codegen.findings import Finding, finding

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}
_OF_THE_CALLER = {"OWN_USER", "OWNER"}
_PASSING = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
"""The codes after which the same request may succeed. After ABORTED it has to be another one, made of what is now."""
_ATTEMPTS = range(2, 6)
_SUCCESSES = {200, 201, 202, 204}
_UPPER_SNAKE_CASE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def findings(contract: Contract) -> list[Finding]:
    """Every mistake, by file."""
    methods = [method for service in contract.services() for method in service.methods]
    return sorted({finding(method, text) for method in methods for text in _mistakes(contract, method)})


def _mistakes(contract: Contract, method: MethodDescriptor) -> Iterator[str]:
    yield from (f"{option}: is not known" for option in contract.unknown_options(method))
    try:
        policy = contract.policy(method)
    except ContractError:
        yield "(chassis.v1.method): is missing"
        return
    rpc = _Rpc(contract, method, policy)
    for check in (_access, _user_field, _deadline, _success, _errors, _key, _retry, _rate_limit, _cache, _concurrency):
        yield from check(rpc)


@dataclass(frozen=True)
class _Rpc:
    """An RPC and its chassis.v1.MethodPolicy."""

    contract: Contract
    method: MethodDescriptor
    policy: Any

    @property
    def access(self) -> str:
        return self.contract.enum_name("chassis.v1.Access", self.policy.access, "ACCESS_")

    def code(self, number: int) -> str:
        return self.contract.enum_name("chassis.v1.Code", number, "CODE_")

    def field(self, name: str) -> FieldDescriptor | None:
        """The field of the request, if it has one of this name."""
        return self.method.input_type.fields_by_name.get(name)


def _access(rpc: _Rpc) -> Iterator[str]:
    if rpc.access == "UNSPECIFIED":
        yield "access: is missing"


def _user_field(rpc: _Rpc) -> Iterator[str]:
    name, is_needed = rpc.policy.user_field, rpc.access == "OWN_USER"
    if is_needed and not name:
        yield "user_field: is missing, and access is ACCESS_OWN_USER"
    if name and not is_needed:
        yield "user_field: is set, and access is not ACCESS_OWN_USER"
    if name:
        field = rpc.field(name)
        if field is None or field.is_repeated or field.cpp_type not in _INTEGERS:
            yield f"user_field: {name} is no integer field of {rpc.method.input_type.name}"


def _deadline(rpc: _Rpc) -> Iterator[str]:
    deadline = rpc.policy.deadline
    if not rpc.policy.HasField("deadline"):
        yield "deadline: is missing"
    elif not 0 < deadline.default.ToNanoseconds() <= deadline.max.ToNanoseconds():
        yield "deadline: needs 0 < default <= max"


def _success(rpc: _Rpc) -> Iterator[str]:
    status = rpc.policy.success_status
    if status and status not in _SUCCESSES:
        yield f"success_status: {status} is none of {_listed(_SUCCESSES)}"
    if status == 204 and rpc.method.output_type.fields:
        yield f"success_status: 204 has no body, and {rpc.method.output_type.name} has fields"


def _errors(rpc: _Rpc) -> Iterator[str]:
    codes = rpc.contract.codes()
    for error in rpc.policy.errors:
        name = f"errors: {rpc.code(error.code)} {error.reason}"
        if not error.code:
            yield f"{name}: has no code"
        elif error.code not in codes or not codes[error.code][1].http_status:
            yield f"{name}: its code has no HTTP status"
        if not _UPPER_SNAKE_CASE.fullmatch(error.reason):
            yield f"{name}: its reason is not in UPPER_SNAKE_CASE"
    times = Counter((error.code, error.reason) for error in rpc.policy.errors)
    for (code, reason), number in times.items():
        if number > 1:
            yield f"errors: {rpc.code(code)} {reason}: is listed {number} times"


def _key(rpc: _Rpc) -> Iterator[str]:
    name = rpc.policy.idempotency_key
    if not name:
        return
    if is_safe_to_repeat(rpc.method):
        yield f"idempotency_key: is set, and idempotency_level is {idempotency_level(rpc.method)}"
    field = rpc.field(name)
    if field is None or field.is_repeated or field.type != field.TYPE_STRING:
        yield f"idempotency_key: {name} is no string field of {rpc.method.input_type.name}"
        return
    if not field.has_presence:
        yield f"idempotency_key: {name} is not optional, so that nobody can tell whether it is given"
    rules = rpc.contract.field_rules(field)
    if rules is None or not rules.string.uuid:
        yield f"idempotency_key: {name} has no rule string.uuid"


def _retry(rpc: _Rpc) -> Iterator[str]:
    retry = rpc.policy.retry
    if not rpc.policy.HasField("retry"):
        return
    if not is_safe_to_repeat(rpc.method) and not rpc.policy.idempotency_key:
        yield "retry: is set, and there is neither idempotency_level nor idempotency_key"
    if retry.attempts not in _ATTEMPTS:
        yield f"retry.attempts: {retry.attempts} is not {_ATTEMPTS[0]} to {_ATTEMPTS[-1]}"
    if not retry.codes:
        yield "retry.codes: is missing"
    for code in retry.codes:
        if rpc.code(code) not in _PASSING:
            yield f"retry.codes: {rpc.code(code)} is none of {_listed(_PASSING)}"
    yield from _backoff(rpc)


def _backoff(rpc: _Rpc) -> Iterator[str]:
    retry = rpc.policy.retry
    first, longest = (each.ToNanoseconds() for each in (retry.initial_backoff, retry.max_backoff))
    if not 0 < first <= longest:
        yield "retry: needs 0 < initial_backoff <= max_backoff"
    elif retry.attempts in _ATTEMPTS:
        pauses = sum(min(longest, first * 2**number) for number in range(retry.attempts - 1))
        default = rpc.policy.deadline.default.ToNanoseconds()
        if 0 < default <= pauses:
            yield f"retry: pauses of up to {pauses / 1e9:g}s do not fit into the default deadline of {default / 1e9:g}s"


def _rate_limit(rpc: _Rpc) -> Iterator[str]:
    limit = rpc.policy.rate_limit
    if not rpc.policy.HasField("rate_limit"):
        return
    if not limit.per_second:
        yield "rate_limit.per_second: is missing"
    if not limit.burst:
        yield "rate_limit.burst: is missing"
    elif limit.per_second % limit.burst:
        yield f"rate_limit.burst: {limit.burst} does not divide {limit.per_second}"
    if not limit.scope:
        yield "rate_limit.scope: is missing"


def _cache(rpc: _Rpc) -> Iterator[str]:
    cache = rpc.policy.cache
    if not rpc.policy.HasField("cache"):
        return
    if idempotency_level(rpc.method) != "NO_SIDE_EFFECTS":
        yield "cache: is set, and idempotency_level is not NO_SIDE_EFFECTS"
    if rpc.access in _OF_THE_CALLER:
        yield f"cache: is set, and with ACCESS_{rpc.access} the answer depends on the caller"
    if cache.time_to_live.ToNanoseconds() <= 0:
        yield "cache.time_to_live: is not above 0"
    if cache.stale_time.ToNanoseconds() < 0:
        yield "cache.stale_time: is below 0"


def _concurrency(rpc: _Rpc) -> Iterator[str]:
    if not rpc.policy.max_concurrent:
        yield "max_concurrent: is missing"


def _listed(values: set[str] | set[int]) -> str:
    return ", ".join(map(str, sorted(values)))
