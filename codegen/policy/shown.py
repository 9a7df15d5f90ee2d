"""The policy of an RPC for the readers of the OpenAPI document: as extensions, and in sentences."""

from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from codegen.descriptors import Contract, ContractError, idempotency_level, is_safe_to_repeat


def extensions(contract: Contract, method: MethodDescriptor) -> dict[str, Any]:
    """The policy by the names of the extensions; empty where it says nothing."""
    policy = contract.policy(method)
    return {
        "x-access": contract.enum_name("chassis.v1.Access", policy.access, "ACCESS_").lower(),
        "x-deadline": {"default": _time(policy.deadline.default), "max": _time(policy.deadline.max)},
        "x-idempotency": _idempotency(method, policy),
        "x-retry": _retry(contract, policy.retry) if policy.HasField("retry") else None,
        "x-rate-limit": _rate_limit(contract, policy.rate_limit) if policy.HasField("rate_limit") else None,
        "x-cache": _cache(policy.cache) if policy.HasField("cache") else None,
        "x-concurrency": policy.max_concurrent,
    }


def sentences(contract: Contract, method: MethodDescriptor, *, access: bool = False) -> str:
    """What whoever calls it over HTTP should know of the policy; with `access` on, who may call, too."""
    policy = contract.policy(method)
    default = policy.deadline.default.ToTimedelta().total_seconds()
    found = [_callers(contract, method, policy)] if access else []
    found.append(f"Takes {default:g} s at most.")
    if policy.idempotency_key:
        key = _json_name(method, policy.idempotency_key)
        found.append(f"May be repeated with the same `{key}`: such calls have one effect and one answer.")
    elif idempotency_level(method) == "IDEMPOTENT":
        found.append("May be repeated: a second call changes nothing more.")
    if policy.max_concurrent:
        found.append(f"At most {policy.max_concurrent} of these calls run on a server at once, and others get a 429.")
    return " ".join(found)


def _idempotency(method: MethodDescriptor, policy: Any) -> dict[str, str]:
    if policy.idempotency_key:
        return {"key": _json_name(method, policy.idempotency_key)}
    return {"level": idempotency_level(method).lower()} if is_safe_to_repeat(method) else {}


def _callers(contract: Contract, method: MethodDescriptor, policy: Any) -> str:
    match contract.enum_name("chassis.v1.Access", policy.access, "ACCESS_"):
        case "PUBLIC":
            return "Anybody may call it, without a token."
        case "TOKEN":
            return "Whoever has a valid token may call it."
        case "OWN_USER":
            return f"Only the user whose id is `{_json_name(method, policy.user_field)}`, and services, may call it."
        case "OWNER":
            return "Whoever has a valid token may call it; what belongs to another user does not exist for them."
        case "SERVICE":
            return "Only services may call it."
        case unknown:
            raise ContractError(f"{method.full_name}: access {unknown} says nothing")


def _json_name(method: MethodDescriptor, name: str) -> str:
    """A field of the request, as it is written in JSON."""
    field = method.input_type.fields_by_name.get(name)
    if field is None:
        raise ContractError(f"{method.full_name}: the request has no field {name}")
    return field.json_name


def _retry(contract: Contract, retry: Any) -> dict[str, Any]:
    return {
        "attempts": retry.attempts,
        "codes": [contract.enum_name("chassis.v1.Code", code, "CODE_").lower() for code in retry.codes],
        "initialBackoff": _time(retry.initial_backoff),
        "maxBackoff": _time(retry.max_backoff),
    }


def _rate_limit(contract: Contract, limit: Any) -> dict[str, Any]:
    return {
        "perSecond": limit.per_second,
        "burst": limit.burst,
        "scope": contract.enum_name("chassis.v1.Scope", limit.scope, "SCOPE_").lower(),
    }


def _cache(cache: Any) -> dict[str, str]:
    return {"timeToLive": _time(cache.time_to_live), "staleTime": _time(cache.stale_time)}


def _time(duration: Any) -> str:
    text: str = duration.ToJsonString()
    return text
