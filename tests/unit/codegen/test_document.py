"""The document: of a small contract, what each part of it becomes; of ours, that it is whole."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format
from google.protobuf.compiler import plugin_pb2
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from codegen.descriptors import Contract, ContractError
from codegen.openapi.__main__ import generate
from codegen.openapi.document import document
from services.chassis.errors import OverloadedError
from services.chassis.status import of_error
from tests.unit.codegen.compiled import ROOT, compiled, contract, request

_POLICY = "access: ACCESS_PUBLIC deadline: {default: {seconds: 5} max: {seconds: 30}}"


def _service(*methods: str, more: str = "") -> Any:
    """The document of a service `S` with these methods."""
    return document(contract(f"service S {{ {' '.join(methods)} }} {more}"))


def _rpc(name: str, http: str, policy: str = _POLICY, types: str = "(M) returns (N)") -> str:
    return f"""
        rpc {name}{types} {{
          option (google.api.http) = {{{http}}};
          option (chassis.v1.method) = {{{policy}}};
        }}
    """


_MESSAGES = """
    message M { int64 user_id = 1 [(buf.validate.field).int64.gt = 0]; uint32 count = 2; }
    message N { int64 order_id = 1; }
"""


@cache
def _ours() -> Any:
    return document(Contract(_our_request()))


@cache
def _our_request() -> plugin_pb2.CodeGeneratorRequest:
    api = ROOT / "api"
    return compiled(sorted(path.relative_to(api).as_posix() for path in api.rglob("*.proto")))


_RULED_MESSAGES = """
    message M {
      option (buf.validate.message).cel = {
        id: "range" message: "min is not above max" expression: "this.min <= this.max"
      };
      option (buf.validate.message).oneof = {fields: ["min", "max"]};
      uint32 min = 1;
      uint32 max = 2;
      oneof which { option (buf.validate.oneof).required = true; string name = 3; uint32 number = 4; }
    }
    message N {}
"""


def test_rules_over_several_parameters_are_named_with_the_operation() -> None:
    found = _service(_rpc("Find", 'get: "/m"'), more=_RULED_MESSAGES)

    operation = _operations(found)["Find"]

    assert operation["x-buf-validate"] == ["range", "required", "message.oneof"]
    for text in ("min is not above max", "one of name, number is set", "at most one of min, max is set"):
        assert text in operation["description"]


def _operations(found: Any) -> dict[str, Any]:
    return {each["operationId"]: each for path in found["paths"].values() for each in path.values()}


def _inside(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inside(part)


def test_each_field_of_a_request_is_in_the_path_or_in_the_body() -> None:
    found = _service(_rpc("Add", 'post: "/user/{user_id}" body: "*"'), more=_MESSAGES)
    operation = found["paths"]["/user/{userId}"]["post"]
    assert [(each["name"], each["in"], each["required"]) for each in operation["parameters"]] == [
        ("userId", "path", True)
    ]
    assert operation["requestBody"]["required"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == ["count"]
    assert schema["additionalProperties"] is False


def test_without_a_body_the_fields_that_are_not_in_the_path_are_in_the_query() -> None:
    operation = _service(_rpc("Get", 'get: "/user"'), more=_MESSAGES)["paths"]["/user"]["get"]
    assert [(each["name"], each["in"], each["required"]) for each in operation["parameters"]] == [
        ("userId", "query", True),
        ("count", "query", False),
    ]
    assert "requestBody" not in operation


def test_a_further_binding_is_an_operation_with_a_number() -> None:
    http = 'post: "/a" body: "*" additional_bindings: {post: "/b/{user_id}"}'
    assert list(_operations(_service(_rpc("Do", http), more=_MESSAGES))) == ["Do", "Do_2"]


def test_operations_of_one_name_have_the_name_of_their_service_too() -> None:
    found = _service(_rpc("Do", 'get: "/s"'), more=_MESSAGES + "service T {" + _rpc("Do", 'get: "/t"') + "}")
    assert list(_operations(found)) == ["S_Do", "T_Do"]


def test_a_success_of_204_has_no_content() -> None:
    found = _service(_rpc("Do", 'delete: "/a"', f"{_POLICY} success_status: 204"), more=_MESSAGES)
    success = found["paths"]["/a"]["delete"]["responses"]["204"]
    assert success.keys() == {"description"}
    assert "N" not in found["components"]["schemas"]


def test_a_field_request_id_is_the_header_idempotency_key_as_well() -> None:
    more = """
        message M { optional string request_id = 1 [(buf.validate.field).string.uuid = true]; }
        message N {}
    """
    parameters = _service(_rpc("Do", 'post: "/a" body: "*"'), more=more)["paths"]["/a"]["post"]["parameters"]
    assert [(each["name"], each["in"], each["required"]) for each in parameters] == [
        ("Idempotency-Key", "header", False)
    ]
    assert parameters[0]["schema"]["format"] == "uuid"


def test_errors_are_grouped_by_status_with_the_reasons_of_the_rpc() -> None:
    errors = """
        errors: {code: CODE_FAILED_PRECONDITION reason: "B" description: "Second."}
        errors: {code: CODE_FAILED_PRECONDITION reason: "A" description: "First."}
    """
    operation = _service(_rpc("Do", 'get: "/a"', _POLICY + errors), more=_MESSAGES)["paths"]["/a"]["get"]
    assert list(operation["responses"]) == ["200", "400", "401", "412", "429", "431", "500", "503", "504"]
    response = operation["responses"]["412"]
    assert response["description"] == "- `B`: Second.\n- `A`: First."
    schema = response["content"]["application/json"]["schema"]
    assert schema["properties"]["details"]["items"]["properties"]["reason"]["enum"] == ["A", "B"]


def test_a_declared_body_may_be_late_too_long_or_of_another_type() -> None:
    operation = _service(_rpc("Do", 'post: "/a" body: "*"'), more=_MESSAGES)["paths"]["/a"]["post"]
    assert {"408", "413", "415"} <= operation["responses"].keys()


@pytest.mark.parametrize(
    ("policy", "security"),
    [
        (_POLICY, None),
        (_POLICY.replace("PUBLIC", "TOKEN"), [{"bearer": []}]),
        (_POLICY + 'errors: {code: CODE_UNAUTHENTICATED reason: "T"}', [{}, {"bearer": []}]),
    ],
)
def test_a_token_is_needed_or_of_use_or_neither(policy: str, security: object) -> None:
    operation = _service(_rpc("Do", 'get: "/a"', policy), more=_MESSAGES)["paths"]["/a"]["get"]
    assert operation.get("security") == security


def test_a_message_of_requests_and_answers_has_two_schemas() -> None:
    more = "message M { N n = 1; } message N { int64 a = 1; }"
    schemas = _service(_rpc("Do", 'post: "/a" body: "*"'), more=more)["components"]["schemas"]
    assert {name for name in schemas if not name.startswith("google.")} == {"M", "N-Input", "N-Output"}
    assert "required" not in schemas["N-Input"]
    assert schemas["N-Output"]["required"] == ["a"]


def test_messages_inside_of_lists_and_maps_are_components_too() -> None:
    more = "message M {} message N { map<string, O> a = 1; repeated P b = 2; } message O {} message P {}"
    schemas = _service(_rpc("Do", 'get: "/a"'), more=more)["components"]["schemas"]
    assert {name for name in schemas if not name.startswith("google.")} == {"N", "O", "P"}


def test_an_error_without_a_reason_is_an_error_of_the_contract() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.S\.Do: an error without a code or a reason"):
        _service(_rpc("Do", 'get: "/a"', _POLICY + "errors: {code: CODE_NOT_FOUND}"), more=_MESSAGES)


def test_the_first_sentence_of_a_comment_is_the_summary() -> None:
    comment = "\n// Does it: all\n// of it. Or\n// nothing.\n//\n// More.\n"
    operation = _service(comment + _rpc("Do", 'get: "/a"').lstrip(), more=_MESSAGES)["paths"]["/a"]["get"]
    assert operation["summary"] == "Does it: all of it"
    assert operation["description"].startswith("Or nothing.\n\nMore.\n\nTakes 5 s at most")
    assert operation["x-deadline"] == {"default": "5s", "max": "30s"}
    assert operation["x-access"] == "public"


def _do(policy: str, option: str = "", messages: str = _MESSAGES) -> Any:
    """The operation of an RPC with this policy."""
    rpc = _rpc("Do", 'get: "/a"', policy).replace("option (google", f"{option} option (google")
    return _service(rpc, more=messages)["paths"]["/a"]["get"]


_KEYED = "message M { optional string request_id = 1 [(buf.validate.field).string.uuid = true]; } message N {}"
_IDEMPOTENT = "option idempotency_level = IDEMPOTENT;"
_NO_SIDE_EFFECTS = "option idempotency_level = NO_SIDE_EFFECTS;"


def test_what_a_policy_says_is_in_extensions() -> None:
    policy = f"""{_POLICY} max_concurrent: 7
        retry: {{
          attempts: 3 codes: [CODE_UNAVAILABLE, CODE_RESOURCE_EXHAUSTED]
          initial_backoff: {{nanos: 50000000}} max_backoff: {{seconds: 1}}
        }}
        rate_limit: {{per_second: 10 burst: 5 scope: SCOPE_SHARED}}
        cache: {{time_to_live: {{seconds: 60}} stale_time: {{seconds: 600}}}}
    """
    operation = _do(policy, _NO_SIDE_EFFECTS)

    assert {name: part for name, part in operation.items() if name.startswith("x-")} == {
        "x-access": "public",
        "x-deadline": {"default": "5s", "max": "30s"},
        "x-idempotency": {"level": "no_side_effects"},
        "x-retry": {
            "attempts": 3,
            "codes": ["unavailable", "resource_exhausted"],
            "initialBackoff": "0.050s",
            "maxBackoff": "1s",
        },
        "x-rate-limit": {"perSecond": 10, "burst": 5, "scope": "shared"},
        "x-cache": {"timeToLive": "60s", "staleTime": "600s"},
        "x-concurrency": 7,
    }


def test_what_a_policy_does_not_say_has_no_extension() -> None:
    assert {name for name in _do(_POLICY) if name.startswith("x-")} == {"x-access", "x-deadline"}


def test_whoever_calls_reads_how_a_call_may_be_repeated() -> None:
    keyed = _do(f'{_POLICY} idempotency_key: "request_id"', messages=_KEYED)
    idempotent, without_effects, unsafe = _do(_POLICY, _IDEMPOTENT), _do(_POLICY, _NO_SIDE_EFFECTS), _do(_POLICY)

    assert keyed["x-idempotency"] == {"key": "requestId"}
    assert "May be repeated with the same `requestId`: " in keyed["description"]
    assert idempotent["x-idempotency"] == {"level": "idempotent"}
    assert "May be repeated: a second call changes nothing more." in idempotent["description"]
    assert all("repeated" not in each["description"] for each in (without_effects, unsafe))


def test_whoever_calls_reads_how_many_calls_run_at_once() -> None:
    assert "At most 7 of these calls run on a server at once" in _do(f"{_POLICY} max_concurrent: 7")["description"]
    assert "at once" not in _do(_POLICY)["description"]


def test_a_key_that_the_request_does_not_have_is_an_error_of_the_contract() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.S\.Do: the request has no field request_id"):
        _do(f'{_POLICY} idempotency_key: "request_id"')


_RATE_LIMIT = 'errors: {code: CODE_RESOURCE_EXHAUSTED reason: "RATE_LIMIT" description: "Too fast."}'


def test_an_overload_is_shown_as_the_services_tell_it() -> None:
    found = _service(_rpc("Do", 'get: "/a"'), more=_MESSAGES)
    sent = json_format.MessageToDict(of_error(OverloadedError("m", 0.5)), descriptor_pool=descriptor_pool.Default())

    assert _operations(found)["Do"]["responses"]["429"] == {"$ref": "#/components/responses/Error429"}
    example = found["components"]["responses"]["Error429"]["content"]["application/json"]["example"]
    assert [{"metadata": {}, **detail} for detail in sent["details"] if "reason" in detail] == example["details"][:1]
    assert [detail for detail in sent["details"] if "retryDelay" in detail] == example["details"][1:]


def test_a_429_may_say_when_to_try_again() -> None:
    found = _service(_rpc("Do", 'get: "/a"'), more=_MESSAGES)["components"]["responses"]

    header = found["Error429"]["headers"]["Retry-After"]
    assert header["schema"] == {"type": "integer", "minimum": 0}
    assert "required" not in header
    assert [name for name, response in found.items() if "headers" in response] == ["Error429"]


def test_a_rate_limit_of_the_rpc_is_shown_beside_the_overload() -> None:
    response = _do(f"{_POLICY} {_RATE_LIMIT}")["responses"]["429"]

    content = response["content"]["application/json"]
    assert list(content["examples"]) == ["RATE_LIMIT", "OVERLOADED"]
    assert response["description"].startswith("- `RATE_LIMIT`: Too fast.\n- `OVERLOADED`: ")
    assert "Retry-After" in response["headers"]
    assert content["schema"] == {"$ref": "#/components/schemas/google.rpc.Status"}, "any reason"


def test_an_rpc_without_http_is_not_in_the_document() -> None:
    found = _service(f"rpc Do(M) returns (N) {{ option (chassis.v1.method) = {{{_POLICY}}}; }}", more=_MESSAGES)
    assert found["paths"] == {}
    assert found["tags"] == []


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ('get: "/{name=a/*}"', "a variable is one field"),
        ('get: "/{other}"', "a variable is one field"),
        ('post: "/a" body: "count"', "the whole message"),
        ('custom: {kind: "HEAD" path: "/a"}', "only plain verbs"),
    ],
)
def test_a_route_that_the_document_cannot_say_is_an_error(http: str, says: str) -> None:
    with pytest.raises(ContractError, match=rf"test\.v1\.S\.Do: .*{says}"):
        _service(_rpc("Do", http), more=_MESSAGES)


def test_an_rpc_without_a_policy_is_an_error() -> None:
    rpc = 'rpc Do(M) returns (N) { option (google.api.http) = {get: "/a"}; }'
    other = _rpc("Other", 'get: "/b"')
    with pytest.raises(ContractError, match=r"test\.v1\.S\.Do: no option"):
        _service(rpc, other, more=_MESSAGES)


def test_the_plugin_reports_an_error_of_the_contract_and_writes_nothing() -> None:
    messages = "message M { map<string, string> f = 1; } message N {}"
    response = generate(request("service S {" + _rpc("Do", 'get: "/a"') + "}" + messages))
    assert response.error == "test.v1.M.f: a map is no parameter"
    assert not response.file


# Our own contract


def test_our_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(_ours()).validate()


def test_our_document_is_the_same_whatever_the_order_of_the_files() -> None:
    one = generate(_our_request())
    other = plugin_pb2.CodeGeneratorRequest()
    other.CopyFrom(_our_request())
    names = sorted(other.file_to_generate, reverse=True)
    other.file_to_generate[:] = names
    assert one.file[0].name == "openapi.json"
    assert one.file[0].content.endswith("}\n")
    assert one == generate(other)


def test_the_program_answers_with_the_document() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "codegen.openapi"],
        input=_our_request().SerializeToString(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    response = plugin_pb2.CodeGeneratorResponse.FromString(answer.stdout)
    assert json.loads(response.file[0].content) == _ours()


def test_everything_that_is_referred_to_is_there_and_nothing_else() -> None:
    found = _ours()
    refs = {each["$ref"] for each in _inside(found) if isinstance(each, dict) and isinstance(each.get("$ref"), str)}
    components = found["components"]
    kinds = ("schemas", "responses")
    assert refs == {f"#/components/{kind}/{name}" for kind in kinds for name in components[kind]}


def test_no_operation_has_a_default_response() -> None:
    for operation in _operations(_ours()).values():
        assert all(re.fullmatch("[1-5][0-9]{2}", status) for status in operation["responses"])


def test_every_object_of_ours_says_what_else_it_may_hold() -> None:
    for schema in _inside(_ours()["components"]["schemas"]):
        if isinstance(schema, dict) and schema.get("type") == "object":
            assert "additionalProperties" in schema


FOUR = ("Cart", "Loms", "Notifier", "Product")


def test_links_lead_from_what_is_made_to_what_can_be_done_with_it() -> None:
    found = {
        name: set(response["links"])
        for name, operation in _operations(_ours()).items()
        for response in operation["responses"].values()
        if "links" in response and {f"{name}Service" for name in FOUR}.issuperset(operation["tags"])
    }
    with_order = {"OrderInfo", "OrderPay", "OrderCancel", "ListNotifications"}
    assert found == {
        "ItemAdd": {"ItemDelete", "List", "Clear", "Checkout", "Checkout_2"},
        "Checkout": with_order,
        "Checkout_2": with_order,
        "OrderCreate": with_order,
    }


def test_a_link_fills_what_the_operation_needs_wherever_it_is() -> None:
    links = _operations(_ours())["OrderCreate"]["responses"]["200"]["links"]
    order_id = "$response.body#/orderId"
    assert links["OrderInfo"] == {"operationId": "OrderInfo", "parameters": {"query.orderId": order_id}}
    assert links["OrderPay"] == {"operationId": "OrderPay", "requestBody": {"orderId": order_id}}
    assert links["ListNotifications"]["parameters"] == {"path.orderId": order_id}


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("ItemAdd", "200 400 401 408 412 413 415 429 431 500 503 504"),
        ("ItemDelete", "204 400 401 429 431 500 503 504"),
        ("OrderInfo", "200 400 401 404 429 431 500 503 504"),
        ("OrderCreate", "200 400 401 408 409 412 413 415 429 431 500 503 504"),
        ("Checkout_2", "200 400 401 404 409 412 429 431 500 503 504"),
    ],
)
def test_our_operations_have_these_statuses(operation: str, statuses: str) -> None:
    assert list(_operations(_ours())[operation]["responses"]) == statuses.split()


@pytest.mark.parametrize(
    ("operation", "status", "detail", "fits"),
    [
        ("OrderPay", "400", {"@type": "BadRequest", "fieldViolations": []}, True),
        ("OrderPay", "400", {"@type": "BadRequest"}, False),
        ("OrderPay", "404", {"@type": "ErrorInfo", "reason": "ORDER_NOT_FOUND", "domain": "d", "metadata": {}}, True),
        ("OrderPay", "404", {"@type": "ErrorInfo", "reason": "OTHER", "domain": "d", "metadata": {}}, False),
        ("OrderPay", "500", {"@type": "ErrorInfo", "reason": "INTERNAL", "domain": "d", "metadata": {"id": "1"}}, True),
        ("OrderPay", "500", {"@type": "ErrorInfo", "reason": "INTERNAL", "domain": "d", "metadata": {"id": 1}}, False),
        ("OrderPay", "503", {"@type": "RetryInfo", "retryDelay": "1.500s"}, True),
        ("OrderPay", "503", {"@type": "DebugInfo"}, False),
    ],
)
def test_an_error_is_a_closed_status_with_the_details_that_we_send(
    operation: str,
    status: str,
    detail: dict[str, Any],
    fits: bool,  # noqa: FBT001 - a column of the table
) -> None:
    found = _ours()
    response = _operations(found)[operation]["responses"][status]
    if "$ref" in response:
        response = found["components"]["responses"][f"Error{status}"]
    schema = {**response["content"]["application/json"]["schema"], "components": found["components"]}
    sent = {**detail, "@type": f"type.googleapis.com/google.rpc.{detail['@type']}"}
    validator: Any = OAS31Validator(schema)
    assert validator.is_valid({"code": 5, "message": "", "details": []})
    assert validator.is_valid({"code": 5, "message": "", "details": [sent]}) == fits
    assert not validator.is_valid({"code": 5, "message": "", "details": [], "more": 1})


def test_a_broken_rule_is_reported_as_the_gateway_prints_it() -> None:
    schema = {**_ours()["components"]["schemas"]["google.rpc.Status"], "components": _ours()["components"]}
    violation = {"field": "items[0].count", "description": "…", "reason": "uint32.lte", "localizedMessage": None}
    detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    assert OAS31Validator(schema).is_valid({"code": 3, "message": "…", "details": [detail]})


def test_every_example_of_an_error_fits_its_schema() -> None:
    found = _ours()
    contents = [
        value["application/json"]
        for value in _inside(found)
        if isinstance(value, dict) and {"example", "examples"} & value.get("application/json", {}).keys()
    ]
    examples = [
        (content["schema"], example)
        for content in contents
        for example in [content.get("example"), *(each["value"] for each in content.get("examples", {}).values())]
        if example is not None and "code" in example
    ]

    assert len(examples) > 20
    for schema, example in examples:
        OAS31Validator({**schema, "components": found["components"]}).validate(example)
