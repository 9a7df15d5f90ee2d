"""Who makes the requests of a run with access on."""

from pathlib import Path

import pytest

from tests.fuzz.access import VARIABLE, Callers, callers

REQUESTS = [f"GET /user/1/cart {number}" for number in range(800)]


def _callers() -> Callers:
    return Callers({1: "one", 2: "two"})


@pytest.mark.parametrize("user", [1, "1", 1.0])
def test_a_request_is_mostly_made_by_its_user_and_now_and_again_by_the_other_one(user: object) -> None:
    found = [_callers().caller(request, user, None, always_right=False) for request in REQUESTS]
    assert 0.85 < found.count(1) / len(found) < 0.99
    assert 0.01 < found.count(2) / len(found) < 0.15


def test_a_request_of_nobody_who_is_known_is_made_by_either() -> None:
    for user in (None, 3, "x", True):
        found = [_callers().caller(request, user, 7, always_right=True) for request in REQUESTS]
        assert 0.4 < found.count(1) / len(found) < 0.6


def test_an_order_is_asked_for_by_who_has_made_it() -> None:
    made = _callers()
    made.made("7", "two")
    made.made("8", "somebody")

    assert {made.caller(request, None, order, always_right=True) for request in REQUESTS for order in (7, "7")} == {2}
    assert {made.caller(request, None, 8, always_right=True) for request in REQUESTS} == {1, 2}


def test_the_same_request_is_always_made_by_the_same_user() -> None:
    for request in REQUESTS[:50]:
        assert len({_callers().caller(request, 1, None, always_right=False) for _ in range(3)}) == 1


def test_a_run_without_a_key_has_access_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert callers() is None

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = callers()
    assert found is not None
    assert found.tokens.keys() == {1, 2}
