"""What schemathesis does beside its own checks, in every run. The module that `buf generate` makes registers it.

- Cases that are meant to be right and break only what JSON Schema cannot say are dropped, and counted.
- ContractOracle asks of every answer that it names the rules that the request breaks, and no others.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import schemathesis
from schemathesis import AuthContext, CheckContext, HookContext, Response
from schemathesis.generation.meta import TestPhase

from services.chassis.access import bearer_token
from tests.fuzz import access, oracle
from tests.fuzz.corrections import AnyCase, RequestIds, Users, is_positive, parse_one_at_a_time, write_plain_integers
from tests.fuzz.counts import Counts
from tests.fuzz.operations import Broken, Contract, Operation
from tests.fuzz.strict_json import UndecidedError

__all__ = ["Operation", "register"]

_EVERY = 50
_PARTS_OF_A_REQUEST = {"method", "url", "headers", "params", "data", "json", "cookies"}


def register(operations: Iterable[Operation], inexpressible: Mapping[str, Iterable[str]]) -> None:
    """Puts the hooks and the check into effect."""
    contract, counts = Contract(tuple(operations), inexpressible), Counts()
    inexpressibles, request_ids, users = Inexpressible(contract, counts), RequestIds(), Users()
    parse_one_at_a_time()
    callers = access.callers()
    if callers is not None:
        _sign_in(callers)

    @schemathesis.hook
    def filter_case(_context: HookContext, case: AnyCase) -> bool:
        return not is_positive(case) or inexpressibles.keeps(case)

    @schemathesis.hook
    def map_case(_context: HookContext, case: AnyCase) -> AnyCase:
        if is_positive(case) or (callers is not None and "Authorization" not in case.headers):
            request_ids.correct(case)
        if is_positive(case):
            if callers is None:
                users.correct(case)
            write_plain_integers(case)
        return case

    on = None if callers is None else access.On({token: user for user, token in callers.tokens.items()})
    facts = {"contract": contract, "counts": counts, "access": on}
    schemathesis.check(type("ContractOracle", (_ContractOracle,), facts))


def _sign_in(callers: access.Callers) -> None:
    """Gives each request the token of one of the callers."""

    class Tokens:
        def get(self, case: AnyCase, _context: AuthContext) -> str:
            return callers.tokens[_caller(callers, case)]

        def set(self, case: AnyCase, token: str, _context: AuthContext) -> None:
            case.headers["Authorization"] = f"Bearer {token}"

    schemathesis.auth(refresh_interval=None)(Tokens)

    @schemathesis.hook
    def before_call(_context: HookContext, case: AnyCase, _arguments: dict[str, Any]) -> None:
        if bearer_token(case.headers.get("Authorization", "")) in callers.tokens.values():  # links may have changed it
            case.headers["Authorization"] = f"Bearer {callers.tokens[_caller(callers, case)]}"

    @schemathesis.hook
    def after_call(_context: HookContext, _case: AnyCase, response: Response) -> None:
        made = _made(response)
        if made is not None:
            callers.made(made, bearer_token(str(response.request.headers.get("Authorization", ""))) or "")


def _caller(callers: access.Callers, case: AnyCase) -> int:
    assert case.meta
    places = [place for place in (case.path_parameters, case.query, case.body) if isinstance(place, Mapping)]
    said = {name: value for place in places for name, value in place.items()}
    in_order = case.meta.phase.name in {TestPhase.EXAMPLES, TestPhase.STATEFUL}
    request = f"{case.method} {case.path} {sorted((name, str(value)) for name, value in said.items())}"
    return callers.caller(request, said.get("userId"), said.get("orderId"), always_right=in_order)


def _made(response: Response) -> object:
    """The order that an answer names."""
    if response.status_code != 200:
        return None
    answer = response.json()
    return answer.get("orderId") if isinstance(answer, dict) else None


class Inexpressible:
    """Drops the cases that break only rules of which the document gives no more than the names."""

    def __init__(self, contract: Contract, counts: Counts) -> None:
        self._contract = contract
        self._counts = counts
        self._operations = {operation.id: operation for operation in contract.operations}
        self._lock = threading.Lock()

    def keeps(self, case: AnyCase) -> bool:
        if not self._contract.inexpressible or not self._breaks(case):
            return True
        with self._lock:
            self._counts.dropped += 1
        return False

    def _breaks(self, case: AnyCase) -> bool:
        operation = self._operations[_operation_id(case)]
        parts = case.as_transport_kwargs(base_url="http://localhost")
        try:
            request = requests.Request(**{name: parts[name] for name in _PARTS_OF_A_REQUEST & parts.keys()}).prepare()
            sent = _sent(request)
            url = urlsplit(sent.url)
            body = sent.body if operation.has_body else None
            message = oracle.message_of(operation, oracle.parts_of(url.path), url.query, body)
        except (UndecidedError, ValueError):
            return False
        return message is not None and self._contract.breaks_only_inexpressible(message)


class _ContractOracle:
    """The answer says of the rules what protovalidate says of the request."""

    contract: ClassVar[Contract]
    counts: ClassVar[Counts]
    access: ClassVar[access.On | None]

    def __init__(self, token: str) -> None:
        self._token = token

    def after_response(self, _ctx: CheckContext, response: Response, case: AnyCase) -> None:
        if case.id in self.counts.cases:
            return  # a failure that is looked at again
        self._count(response, case)
        try:
            wanted = oracle.expected(self.contract, _sent(response.request), self.access or access.Off(self._token))
        except UndecidedError as error:
            self.counts.undecided[str(error)] += 1
            return
        self.counts.judged += 1
        if found := difference(wanted, response.status_code, response.content):
            self.counts.failed += 1
            raise AssertionError(found)

    def after_run(self, _ctx: CheckContext) -> None:
        self.counts.write()
        if complaints := self.counts.complaints():
            raise AssertionError("\n".join(complaints))

    def _count(self, response: Response, case: AnyCase) -> None:
        self.counts.cases.add(case.id)
        if case.method == case.operation.method.upper():
            self.counts.answers.setdefault(_operation_id(case), Counter())[response.status_code] += 1
        if len(self.counts.cases) % _EVERY == 0:
            self.counts.write()


def difference(wanted: oracle.Expected, status: int, content: bytes) -> str:
    """How an answer differs from what is wanted; empty if it does not."""
    if wanted.status is None:
        return f"the request breaks no rule, but the answer says {sorted(_broken(content))}" if status == 400 else ""
    if status != wanted.status:
        return f"the answer is {status} and not {wanted.status}, for {sorted(wanted.broken or [])}"
    if status != 400:
        return ""
    found = _broken(content)
    if wanted.broken is None:
        return "" if any(rule.startswith("json.") for _, rule in found) else f"no fault of the JSON in {sorted(found)}"
    return "" if found == wanted.broken else f"the answer names {sorted(found)} and not {sorted(wanted.broken)}"


def _broken(content: bytes) -> Broken:
    """The fields and the rules that an answer names."""
    details = json.loads(content)["details"]
    violations = [each for detail in details for each in detail.get("fieldViolations", [])]
    return frozenset((each["field"], each["reason"]) for each in violations)


def _operation_id(case: AnyCase) -> str:
    return str(case.operation.definition.raw["operationId"])


def _sent(request: Any) -> oracle.Sent:
    """A prepared request of `requests`, as the oracle reads it."""
    body = request.body or b""
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    return oracle.Sent(request.method, request.url, headers, body.encode() if isinstance(body, str) else body)
