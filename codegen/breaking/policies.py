"""The RPCs and events of two contracts: what one promises beside its messages and the other does not."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from codegen.descriptors import Contract, is_safe_to_repeat
from codegen.findings import Finding, finding
from codegen.openapi.bindings import bindings

# Whom an access admits besides those that it names.
_ADMITS = {"PUBLIC": {"TOKEN", "OWN_USER", "OWNER", "SERVICE"}, "TOKEN": {"OWN_USER", "OWNER"}}


def findings(old: Contract, new: Contract) -> Iterator[Finding]:
    """What breaks a user of the old contract."""
    comparison = _Comparison(old, new)
    left = {service.full_name: service for service in new.services()}
    for service in old.services():
        if service.full_name in left:
            yield from comparison.service(service, left[service.full_name])
        else:
            yield finding(service, "service removed")
    yield from _codes(old, new)
    yield from _events(old, new)


class _Comparison:
    """Compares RPCs."""

    def __init__(self, old: Contract, new: Contract) -> None:
        self._old = old
        self._new = new
        self._routes_before = _routes(old)
        self._routes_after = _routes(new)

    def service(self, old: ServiceDescriptor, new: ServiceDescriptor) -> Iterator[Finding]:
        for method in old.methods:
            if method.name in new.methods_by_name:
                for text in self._method(method, new.methods_by_name[method.name]):
                    yield finding(method, text)
            else:
                yield finding(method, "RPC removed")

    def _method(self, old: MethodDescriptor, new: MethodDescriptor) -> Iterator[str]:
        for route in self._routes_before.get(old.full_name, []):
            if route not in self._routes_after.get(old.full_name, []):
                yield f"route removed: {route}"
        before, after = self._old.policy(old), self._new.policy(new)
        statuses = [policy.success_status or 200 for policy in (before, after)]
        if statuses[0] != statuses[1]:
            yield f"success status changed: {statuses[0]} → {statuses[1]}"
        yield from self._errors(before, after)
        yield from self._access(before, after)
        yield from _deadlines(before.deadline, after.deadline)
        key = _idempotency_key(before)
        if key not in {"", _idempotency_key(after)} and not is_safe_to_repeat(new):
            yield f"no longer safe to repeat with the same {key}"

    def _errors(self, old: Any, new: Any) -> Iterator[str]:
        names = self._old.codes()
        left = {(error.code, error.reason) for error in new.errors}
        for error in old.errors:
            if (error.code, error.reason) not in left:
                yield f"error removed: {names[error.code][0]} {error.reason}"

    def _access(self, old: Any, new: Any) -> Iterator[str]:
        before, after = (
            contract.enum_name("chassis.v1.Access", policy.access, "ACCESS_")
            for contract, policy in ((self._old, old), (self._new, new))
        )
        if before not in {after, *_ADMITS.get(after, ())}:
            yield f"access restricted: {before} → {after}"


def _idempotency_key(policy: Any) -> str:
    """The key of an RPC; empty if there is none. A contract may be older than this option."""
    return getattr(policy, "idempotency_key", "")


def _routes(contract: Contract) -> dict[str, list[str]]:
    """The verbs and paths of each RPC, by its full name."""
    routes: dict[str, list[str]] = {}
    for binding in bindings(contract):
        route = f"{binding.verb.upper()} {binding.path}{' with a body' if binding.has_body else ''}"
        routes.setdefault(binding.method.full_name, []).append(route)
    return routes


def _deadlines(old: Any, new: Any) -> Iterator[str]:
    for name, text in (("default", "default deadline"), ("max", "longest deadline")):
        before, after = (getattr(deadline, name) for deadline in (old, new))
        if after.ToNanoseconds() < before.ToNanoseconds():
            yield f"{text} shortened: {before.ToJsonString()} → {after.ToJsonString()}"


def _codes(old: Contract, new: Contract) -> Iterator[Finding]:
    """What the codes mean over HTTP, and which of them any RPC may end with."""
    if not old.services() or not new.services():
        return
    left = new.codes()
    for number, (name, before) in old.codes().items():
        file, element = "chassis/v1/options.proto", f"chassis.v1.CODE_{name}"
        if number not in left or (before.common and not left[number][1].common):
            yield Finding(file, element, "error removed")
        elif before.http_status != left[number][1].http_status:
            yield Finding(file, element, f"HTTP status changed: {before.http_status} → {left[number][1].http_status}")


def _events(old: Contract, new: Contract) -> Iterator[Finding]:
    left = {event.full_name: new.event(event) for event in new.events()}
    for event in old.events():
        before, after = old.event(event), left.get(event.full_name)
        if after is None:
            yield finding(event, "event removed")
            continue
        for name in ("topic", "partitions", "key", "headers"):
            values = getattr(before, name), getattr(after, name)
            if values[0] and values[0] != values[1]:
                yield finding(event, f"{name} of the event changed: {values[0]} → {values[1] or 'none'}")
