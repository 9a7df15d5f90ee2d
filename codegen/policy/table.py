"""The policies of a contract as a table for a terminal of 160 columns."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from codegen.descriptors import Contract, idempotency_level, is_safe_to_repeat

_HEADS = (
    "RPC", "access", "deadline", "idempotency", "retry", "rate limit", "cache", "concurrent", "success", "errors"
)  # fmt: skip
_NOTHING = "-"


def table(contract: Contract) -> str:
    """A line for each RPC, in the order of the contract, and what the codes in it mean."""
    methods = [method for service in contract.services() for method in service.methods]
    rows = [_HEADS, *(_row(contract, method) for method in methods)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_legend(contract, methods), ""])


def _row(contract: Contract, method: MethodDescriptor) -> tuple[str, ...]:
    policy = contract.policy(method)
    return (
        f"{method.containing_service.name}/{method.name}",
        contract.enum_name("chassis.v1.Access", policy.access, "ACCESS_"),
        f"{_seconds(policy.deadline.default)}/{_seconds(policy.deadline.max)} s",
        _idempotency(method, policy),
        _retry(contract, policy.retry) if policy.HasField("retry") else _NOTHING,
        _rate_limit(contract, policy.rate_limit) if policy.HasField("rate_limit") else _NOTHING,
        _cache(policy.cache) if policy.HasField("cache") else _NOTHING,
        str(policy.max_concurrent or _NOTHING),
        str(policy.success_status or 200),
        _statuses(contract, (error.code for error in policy.errors)),
    )


def _idempotency(method: MethodDescriptor, policy: Any) -> str:
    if policy.idempotency_key:
        return f"by {policy.idempotency_key}"
    return idempotency_level(method) if is_safe_to_repeat(method) else _NOTHING


def _retry(contract: Contract, retry: Any) -> str:
    return f"{retry.attempts} on {_statuses(contract, retry.codes)}"


def _rate_limit(contract: Contract, limit: Any) -> str:
    scope = contract.enum_name("chassis.v1.Scope", limit.scope, "SCOPE_").lower()
    return f"{limit.per_second}/s, burst {limit.burst}, {scope}"


def _cache(cache: Any) -> str:
    return f"{_seconds(cache.time_to_live)} + {_seconds(cache.stale_time)} s"


def _seconds(duration: Any) -> str:
    return f"{duration.ToTimedelta().total_seconds():g}"


def _statuses(contract: Contract, numbers: Iterable[int]) -> str:
    """The HTTP statuses of codes."""
    codes = contract.codes()
    statuses = {str(codes[number][1].http_status) if number in codes else str(number) for number in numbers}
    return " ".join(sorted(statuses)) or _NOTHING


def _legend(contract: Contract, methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """The codes behind the statuses: those of the table, and those that are not in it because any RPC has them."""
    codes = contract.codes()
    policies = [contract.policy(method) for method in methods]
    shown = {error.code for policy in policies for error in policy.errors}
    shown |= {code for policy in policies for code in policy.retry.codes}
    yield f"Codes: {_named(codes, shown & codes.keys())}."
    yield f"Any RPC may end with: {_named(codes, {number for number in codes if codes[number][1].common})}."


def _named(codes: dict[int, tuple[str, Any]], numbers: set[int]) -> str:
    found = sorted((codes[number][1].http_status, codes[number][0]) for number in numbers)
    return ", ".join(f"{status} {name}" for status, name in found) or "none"
