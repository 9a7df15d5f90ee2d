"""Cases that are meant to be right, made so where schemathesis cannot know how."""

import ast
from collections.abc import Mapping, MutableMapping
from functools import wraps
from itertools import count
from threading import Lock
from typing import Any, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from schemathesis import Case
from schemathesis.generation.meta import TestPhase

AnyCase: TypeAlias = "Case[Any]"
_FILLS_A_CART = ("POST", "/user/{userId}/cart/{sku}")
_NAMES = ("Idempotency-Key", "requestId")


def is_positive(case: AnyCase) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


class RequestIds:
    """Keeps to what the document says of request ids in words: the two places for one hold the same, and one id is
    for one request. About half of the orders and checkouts would end with a 409 otherwise.
    """

    def __init__(self) -> None:
        self._used: dict[str, str] = {}

    def correct(self, case: AnyCase) -> None:
        given = [
            (place, name)
            for place in (case.headers, case.body, case.query)
            for name in _NAMES
            if isinstance(place, MutableMapping) and isinstance(place.get(name), str)
        ]
        if not given:
            return
        last, name = given[-1]
        request_id = str(last[name])
        for place, name in given:
            del place[name]
        parts = [part for part in (case.path_parameters, case.query, case.body) if isinstance(part, Mapping)]
        request = repr(sorted((name, str(value)) for part in parts for name, value in part.items()))
        if self._used.setdefault(request_id, request) != request:
            request_id = str(uuid5(NAMESPACE_URL, request))
        for place, name in given:
            place[name] = request_id


class Users:
    """In a stateful scenario each cart that is filled is of a user of its own.

    Where two lines of a scenario share a cart, one may empty it and the other fill it again. schemathesis looks for
    what makes a deleted resource anew at or above its path, and a cart is filled below it: it would report ST301.
    """

    def __init__(self) -> None:
        self._numbers = count(1_000_000)

    def correct(self, case: AnyCase) -> None:
        assert case.meta
        if case.meta.phase.name is TestPhase.STATEFUL and (case.method, case.path) == _FILLS_A_CART:
            case.path_parameters["userId"] = next(self._numbers)


def parse_one_at_a_time() -> None:
    """Two threads that parse Python at once make Python 3.11 raise a SystemError (python/cpython issue 106905), and
    Hypothesis parses, to describe what it generates.
    """
    parse, lock = ast.parse, Lock()

    @wraps(parse)
    def locked(*args: Any, **keywords: Any) -> Any:
        with lock:
            return parse(*args, **keywords)

    ast.parse = locked


def write_plain_integers(case: AnyCase) -> None:
    """Writes the integer 496.0 into a path or a query as 496.

    schemathesis learns 496.0 from a body, where it is an integer by JSON Schema and accepted, and would write it as
    Python does. But a path is text, and there the gateway takes decimal digits only.
    """
    for place in (case.path_parameters, case.query):
        for name, value in (place or {}).items():
            if isinstance(value, float) and value.is_integer():
                place[name] = int(value)
