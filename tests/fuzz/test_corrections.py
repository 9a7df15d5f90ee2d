"""Cases that were found to be wrong only in how schemathesis writes them."""

import ast
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.generation.meta import TestPhase

from tests.fuzz.corrections import RequestIds, Users, parse_one_at_a_time, write_plain_integers
from tests.marketplace import ROOT

_ID, _OTHER = "2f1c0bd4-11aa-4e4c-8f00-0123456789ab", "2f1c0bd4-11aa-4e4c-8f00-0123456789ac"


def _case(path: str, **parts: Any) -> Any:
    schema = schemathesis.openapi.from_path(str(ROOT / "gen/openapi/openapi.json"))
    return schema[path]["POST"].Case(media_type="application/json" if "body" in parts else None, **parts)


def _checkout(user: int, key: str, request_id: str | None = None) -> Any:
    body = {"userId": user, **({"requestId": request_id} if request_id else {})}
    return _case("/cart/checkout", headers={"Idempotency-Key": key}, body=body)


def test_a_whole_number_that_was_learnt_from_a_body_is_plain_digits_in_a_path() -> None:
    """Found by seed 6: ST202, POST /user/213355060577.0/cart/1952, refused with int64.type as it must be."""
    case = _case("/user/{userId}/cart/{sku}", path_parameters={"userId": 213355060577.0, "sku": 1.5}, body={})
    write_plain_integers(case)
    assert case.formatted_path == "/user/213355060577/cart/1.5"


def test_two_places_for_a_request_id_hold_the_same() -> None:
    case = _checkout(1, _OTHER, _ID)
    RequestIds().correct(case)
    assert case.headers["Idempotency-Key"] == case.body["requestId"]


def test_a_request_id_is_for_one_request() -> None:
    request_ids = RequestIds()
    first, again, another, another_again = (_checkout(user, _ID) for user in (1, 1, 2, 2))
    for case in (first, again, another, another_again):
        request_ids.correct(case)
    keys = [case.headers["Idempotency-Key"] for case in (first, again, another, another_again)]
    assert keys[:2] == [_ID, _ID]
    assert keys[2] == keys[3] != _ID


def test_a_case_without_a_request_id_stays_as_it_is() -> None:
    case = _case("/cart/checkout", body={"userId": 1})
    RequestIds().correct(case)
    assert case.body == {"userId": 1}
    assert "Idempotency-Key" not in case.headers


@pytest.mark.parametrize(("phase", "own"), [(TestPhase.STATEFUL, True), (TestPhase.FUZZING, False)])
def test_in_a_stateful_scenario_no_two_lines_fill_the_same_cart(
    phase: TestPhase,
    own: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Found by seed 301: ST301, a cart that was emptied in one line of a scenario and filled in another."""
    users = Users()
    found: list[int] = []
    schema = schemathesis.openapi.from_path(str(ROOT / "gen/openapi/openapi.json"))
    operation = schema["/user/{userId}/cart/{sku}"]["POST"]

    @settings(
        max_examples=20, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE, phase=phase))
    def generate_cases(case: Any) -> None:
        before = case.path_parameters["userId"]
        users.correct(case)
        found.append(case.path_parameters["userId"])
        assert own or found[-1] == before

    generate_cases()
    assert not own or found == list(range(1_000_000, 1_000_000 + len(found)))


def test_threads_parse_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by seed 303 with two workers: a SystemError of Python within Hypothesis."""
    running: list[int] = []

    def parse(_source: str) -> int:
        running.append(1)
        most = len(running)
        for _ in range(1000):
            most = max(most, len(running))
        running.pop()
        return most

    monkeypatch.setattr(ast, "parse", parse)
    parse_one_at_a_time()
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ast.parse, ["1"] * 200)) == {1}
