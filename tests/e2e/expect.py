"""Requests and errors, as tests speak of them."""

from typing import Any

import httpx

JSON = {"content-type": "application/json"}


async def post(http: httpx.AsyncClient, path: str, body: str, **headers: str) -> httpx.Response:
    """Sends the body as it stands."""
    return await http.post(path, content=body.encode(), headers=JSON | headers)


def detail_of(answer: httpx.Response) -> dict[str, Any]:
    """The only detail of an error."""
    body = answer.json()
    assert set(body) == {"code", "message", "details"}, body
    assert body["message"]
    (detail,) = body["details"]
    assert isinstance(detail, dict)
    return detail


def reason_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and the reason with which it refuses."""
    detail = detail_of(answer)
    assert set(detail) == {"@type", "reason", "domain", "metadata"}
    return answer.status_code, detail["reason"]


def broken_rules_of(answer: httpx.Response) -> set[tuple[str, str]]:
    """The fields and the rules that a 400 names."""
    detail = detail_of(answer)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert all(set(violation) == {"field", "description", "reason"} for violation in detail["fieldViolations"])
    assert all(violation["description"] for violation in detail["fieldViolations"])
    return {(violation["field"], violation["reason"]) for violation in detail["fieldViolations"]}
