"""The document for access on: who may call is said, asked for and refused as the contract says."""

import json
from functools import cache
from typing import Any

import pytest
from google.protobuf.compiler import plugin_pb2
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from codegen.descriptors import Contract
from codegen.openapi.__main__ import generate
from codegen.openapi.document import document
from tests.unit.codegen.compiled import ROOT, compiled, contract, request

_SOURCE = """
    service S {
      rpc Do(M) returns (N) {
        option (google.api.http) = {get: "/a"};
        option (chassis.v1.method) = {%s deadline: {default: {seconds: 5} max: {seconds: 30}}};
      }
    }
    message M { int64 user_id = 1; }
    message N {}
"""
_KINDS = [
    "access: ACCESS_PUBLIC",
    "access: ACCESS_TOKEN",
    'access: ACCESS_OWN_USER user_field: "user_id"',
    "access: ACCESS_OWNER",
    "access: ACCESS_SERVICE",
]


def _do(policy: str, *, access: bool = True) -> Any:
    """The operation of an RPC with this policy."""
    return document(contract(_SOURCE % policy), access=access)["paths"]["/a"]["get"]


@cache
def _our_request() -> plugin_pb2.CodeGeneratorRequest:
    api = ROOT / "api"
    return compiled(sorted(path.relative_to(api).as_posix() for path in api.rglob("*.proto")))


@cache
def _ours(*, access: bool = True) -> Any:
    return document(Contract(_our_request()), access=access)


def _operations(found: Any) -> dict[str, Any]:
    return {each["operationId"]: each for path in found["paths"].values() for each in path.values()}


def _reasons(found: Any, operation: Any, status: str) -> list[str]:
    """The reasons in the examples of an error response."""
    response = operation["responses"].get(status, {"content": {"application/json": {}}})
    if "$ref" in response:
        response = found["components"]["responses"][f"Error{status}"]
    content = response["content"]["application/json"]
    examples = [content.get("example", {}), *(each["value"] for each in content.get("examples", {}).values())]
    return [detail["reason"] for example in examples for detail in example.get("details", [])]


@pytest.mark.parametrize(
    ("policy", "needs_token", "unauthenticated", "denied"),
    [
        (_KINDS[0], False, [], []),
        (_KINDS[1], True, ["TOKEN_INVALID"], []),
        (_KINDS[2], True, ["TOKEN_INVALID"], ["PERMISSION_DENIED"]),
        (_KINDS[3], True, ["TOKEN_INVALID"], []),
        (_KINDS[4], True, ["TOKEN_INVALID"], ["PERMISSION_DENIED"]),
    ],
)
def test_what_an_operation_asks_and_refuses_follows_from_its_access(
    policy: str,
    needs_token: bool,  # noqa: FBT001 - a column of the table
    unauthenticated: list[str],
    denied: list[str],
) -> None:
    found = document(contract(_SOURCE % policy), access=True)
    operation = found["paths"]["/a"]["get"]

    assert operation.get("security") == ([{"bearer": []}] if needs_token else None)
    assert _reasons(found, operation, "401") == unauthenticated
    assert _reasons(found, operation, "403") == denied


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (_KINDS[0], "Anybody may call it, without a token."),
        (_KINDS[1], "Whoever has a valid token may call it."),
        (_KINDS[2], "Only the user whose id is `userId`, and services, may call it."),
        (_KINDS[3], "Whoever has a valid token may call it; what belongs to another user does not exist for them."),
        (_KINDS[4], "Only services may call it."),
    ],
)
def test_the_description_says_who_may_call(policy: str, says: str) -> None:
    assert f"{says} Takes 5 s at most" in _do(policy)["description"]
    assert says not in _do(policy, access=False)["description"]


def test_an_error_that_the_rpc_lists_too_is_there_once() -> None:
    listed = 'errors: {code: CODE_UNAUTHENTICATED reason: "TOKEN_INVALID" description: "Another door."}'
    response = _do(f"access: ACCESS_OWNER {listed}")["responses"]["401"]

    assert response["description"].count("TOKEN_INVALID") == 1
    assert "The call has no token, or none that is valid." in response["description"]
    assert "Another door." in _do(f"access: ACCESS_OWNER {listed}", access=False)["responses"]["401"]["description"]


def test_authorize_asks_for_a_jwt() -> None:
    [(name, scheme)] = _ours()["components"]["securitySchemes"].items()
    assert (name, scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("bearer", "http", "bearer", "JWT")
    assert "make token" in scheme["description"]


def test_the_plugin_reports_a_mistake_that_only_the_second_document_meets() -> None:
    response = generate(request(_SOURCE % 'access: ACCESS_OWN_USER user_field: "other"'))

    assert response.error == "test.v1.S.Do: the request has no field other"
    assert not response.file


def test_our_document_is_valid_openapi_with_access_on_too() -> None:
    OpenAPIV31SpecValidator(_ours()).validate()


def test_the_documents_that_are_served_are_those_of_the_contract() -> None:
    for name, access in (("openapi.json", False), ("openapi-access.json", True)):
        assert json.loads((ROOT / "gen/openapi" / name).read_text()) == _ours(access=access)


def test_every_operation_of_ours_but_the_public_ones_needs_a_token() -> None:
    found = _ours()
    public = {name for name, each in _operations(found).items() if each["x-access"] == "public"}

    assert public == {"StocksInfo"}
    for name, operation in _operations(found).items():
        assert ("security" in operation) == (name not in public)
        assert ("TOKEN_INVALID" in _reasons(found, operation, "401")) == (name not in public)
        assert ("403" in operation["responses"]) == (operation["x-access"] in {"own_user", "service"})


def test_the_documents_differ_in_nothing_but_what_follows_from_access() -> None:
    on, off = json.loads(json.dumps([_ours(), _ours(access=False)]))
    for found in (on, off):
        del found["components"]["responses"], found["components"]["securitySchemes"]
        for operation in _operations(found).values():
            del operation["description"]
            operation.pop("security", None)
            operation["responses"].pop("401")
            operation["responses"].pop("403", None)

    assert on == off


def test_every_example_of_a_refusal_fits_its_schema() -> None:
    found = _ours()
    contents = [
        operation["responses"][status]["content"]["application/json"]
        for operation in _operations(found).values()
        for status in ("401", "403")
        if "content" in operation["responses"].get(status, {})
    ]
    examples = [
        (content["schema"], example)
        for content in contents
        for example in [content.get("example"), *(each["value"] for each in content.get("examples", {}).values())]
        if example is not None
    ]

    assert len(examples) > 20
    for schema, example in examples:
        OAS31Validator({**schema, "components": found["components"]}).validate(example)


def test_a_403_names_no_other_reason() -> None:
    found = _ours()
    schema = _operations(found)["OrderCreate"]["responses"]["403"]["content"]["application/json"]["schema"]
    validator: Any = OAS31Validator({**schema, "components": found["components"]})
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "marketplace", "metadata": {}}

    for reason, fits in (("PERMISSION_DENIED", True), ("OTHER", False)):
        error = {"code": 7, "message": "", "details": [{**detail, "reason": reason}]}
        assert validator.is_valid(error) == fits
