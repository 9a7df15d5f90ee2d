"""The oracle knows what the gateway and the services promise of a request."""

import json

import pytest
from marketplace.cart.v1 import cart_pb2
from marketplace.loms.v1 import loms_pb2
from marketplace.product.v1 import product_pb2

from tests.fuzz.access import Access, Off, On
from tests.fuzz.hooks import difference
from tests.fuzz.operations import Contract, Operation
from tests.fuzz.oracle import Expected, Sent, expected
from tests.fuzz.strict_json import UndecidedError

_USER = {"access": "own_user", "user_field": "user_id"}
_ADD = Operation("A", "POST", "/user/{user_id}/cart/{sku}", cart_pb2.ItemAddRequest, has_body=True, **_USER)
_DELETE = Operation("D", "DELETE", "/user/{user_id}/cart/{sku}", cart_pb2.ItemDeleteRequest, has_body=False, **_USER)
_LIST = Operation("L", "GET", "/user/{user_id}/cart", cart_pb2.ListRequest, has_body=False, **_USER)
_CREATE = Operation("C", "POST", "/order/create", loms_pb2.OrderCreateRequest, has_body=True, **_USER)
_INFO = Operation("I", "GET", "/order/info", loms_pb2.OrderInfoRequest, has_body=False, access="owner")
_STOCK = Operation("S", "GET", "/stock/info", loms_pb2.StocksInfoRequest, has_body=False, access="public")
_PRODUCT = Operation("P", "GET", "/product/{sku}", product_pb2.GetProductRequest, has_body=False, access="token")
_CONTRACT = Contract((_ADD, _DELETE, _LIST, _CREATE, _INFO, _STOCK, _PRODUCT), {})
_JSON = {"content-type": "application/json"}
_ID, _OTHER = "2f1c0bd4-11aa-4e4c-8f00-0123456789ab", "2f1c0bd4-11aa-4e4c-8f00-0123456789ac"
_OFF = Off("testtoken")
_ITEM = '{"sku": 1, "count": 1}'


def _ask(
    verb: str, path: str, body: str = "", headers: dict[str, str] | None = None, access: Access = _OFF
) -> Expected:
    return expected(_CONTRACT, Sent(verb, f"http://localhost{path}", headers or {}, body.encode()), access)


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        ('{"count": 0}', {("count", "uint32.gte_lte")}),
        ('{"count": 65536}', {("count", "uint32.gte_lte")}),
        ('{"count": -1}', {("count", "uint32.range")}),
        ('{"count": "1"}', {("count", "uint32.type")}),
        ('{"count": 1.5, "more": 1}', {("count", "uint32.type"), ("more", "json.unknown_field")}),
        ('{"count": 1, "sku": 1}', {("sku", "json.unknown_field")}),
        ('{"count": 1, "count": 1}', {("count", "json.duplicate_key")}),
        ('{"count": null}', {("count", "uint32.gte_lte")}),
        ('{"count": 1} junk', {("", "json.trailing_data")}),
        ("[]", {("", "message.type")}),
        (" ", {("", "json.empty")}),
    ],
)
def test_what_is_wrong_with_a_body_is_named_by_field_and_rule(body: str, broken: set[tuple[str, str]]) -> None:
    assert _ask("POST", "/user/1/cart/1", body, _JSON) == Expected(400, frozenset(broken))


@pytest.mark.parametrize("body", ['{"count": 1}', '{"count": 1.0}', '{"count": 10e-1}', '{"count":\n65535}'])
def test_every_spelling_of_a_right_number_is_right(body: str) -> None:
    assert _ask("POST", "/user/1/cart/1", body, _JSON) == Expected()


@pytest.mark.parametrize("body", ["{", '{"count": NaN}', '{"count": "\\ud800"}', "[" * 101 + "]" * 101])
def test_what_is_no_json_is_refused_whatever_is_named(body: str) -> None:
    assert _ask("POST", "/user/1/cart/1", body, _JSON) == Expected(400)


@pytest.mark.parametrize(
    ("path", "broken"),
    [
        ("/user/0/cart/0", {("user_id", "int64.gt"), ("sku", "uint32.gt")}),
        ("/user/01/cart/1.0", {("user_id", "int64.type"), ("sku", "uint32.type")}),
        ("/user/9223372036854775808/cart/4294967296", {("user_id", "int64.range"), ("sku", "uint32.range")}),
        ("/user/%31/cart/1?x=1", {("x", "query.unknown")}),
    ],
)
def test_a_path_holds_decimal_digits_only(path: str, broken: set[tuple[str, str]]) -> None:
    assert _ask("DELETE", path) == Expected(400, frozenset(broken))


@pytest.mark.parametrize(
    ("query", "broken"),
    [
        ("", {("order_id", "int64.gt")}),
        ("?orderId=1&orderId=1", {("order_id", "query.repeated")}),
        ("?orderId=", {("order_id", "int64.type")}),
        ("?orderId=%zz", {("order_id", "query.syntax")}),
        ("?order_id=1", {("order_id", "query.unknown")}),
        ("?orderId=1;a", {("", "query.syntax")}),
    ],
)
def test_what_is_wrong_with_a_query_is_named(query: str, broken: set[tuple[str, str]]) -> None:
    assert _ask("GET", f"/order/info{query}") == Expected(400, frozenset(broken))


def test_a_field_inside_of_a_list_is_named_with_its_place() -> None:
    body = '{"userId": "1", "items": [{"sku": 1, "count": 1}, {"sku": "1", "count": 1}, null, 5, {"x": 1}]}'
    names = {
        ("items[1].sku", "uint32.type"),
        ("items[2]", "json.null"),
        ("items[3]", "message.type"),
        ("items[4].x", "json.unknown_field"),
    }
    assert _ask("POST", "/order/create", body, _JSON) == Expected(400, frozenset(names))
    found = _ask("POST", "/order/create", f'{{"userId": 1, "items": [{_ITEM}, {{"sku": 1}}]}}', _JSON)
    assert found == Expected(400, frozenset({("items[1].count", "uint32.gte_lte")}))


@pytest.mark.parametrize(
    ("given", "key", "wanted"),
    [
        (None, "x", Expected(400, frozenset({("request_id", "string.uuid")}))),
        (None, _ID, Expected()),
        (_ID, _ID.upper(), Expected()),
        (_ID, _OTHER, Expected(409)),
        (_ID, "\x07", Expected(400, frozenset({("Idempotency-Key", "header.syntax")}))),
    ],
)
def test_the_header_stands_for_the_request_id(given: str | None, key: str, wanted: Expected) -> None:
    body = json.dumps({"userId": 1, "items": [{"sku": 1, "count": 1}], "requestId": given})
    assert _ask("POST", "/order/create", body, {**_JSON, "idempotency-key": key}) == wanted


@pytest.mark.parametrize(
    ("verb", "path", "headers", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/user//cart/1", {}, 404),
        ("GET", "/user/1%2F2/cart/1", {}, 404),
        ("PUT", "/user/1/cart/1", {}, 405),
        ("OPTIONS", "/user/1/cart/1", {}, 204),
        ("POST", "/order/create", {"content-type": "text/plain"}, 415),
        ("POST", "/order/create", {"content-type": "application/json; charset=latin-1"}, 415),
        ("GET", "/product/1", {}, 401),
        ("GET", "/product/0", {"authorization": "Bearer other"}, 401),
        ("GET", "/product/1", {"authorization": "Bearer \xe9"}, 401),
        ("GET", "/product/1", {"authorization": "bearer testtoken"}, None),
    ],
)
def test_other_refusals_come_first(verb: str, path: str, headers: dict[str, str], status: int | None) -> None:
    assert _ask(verb, path, "", headers).status == status


@pytest.mark.parametrize(
    ("verb", "path", "body", "token", "status"),
    [
        ("GET", "/user/1/cart", "", None, 401),
        ("GET", "/user/1/cart", "", "testtoken", 401),
        ("GET", "/user/1/cart", "", "one", None),
        ("GET", "/user/1/cart", "", "two", 403),
        ("GET", "/user/0/cart", "", None, 401),
        ("GET", "/user/0/cart", "", "one", 403),
        ("GET", "/user/x/cart", "", None, 400),
        ("GET", "/order/info?orderId=1", "", None, 401),
        ("GET", "/order/info?orderId=1", "", "two", None),
        ("GET", "/order/info?orderId=0", "", "two", 400),
        ("GET", "/stock/info?sku=1", "", None, None),
        ("GET", "/product/1", "", None, 401),
        ("GET", "/product/1", "", "two", None),
        ("POST", "/order/create", f'{{"userId": 1, "items": [{_ITEM}]}}', "one", None),
        ("POST", "/order/create", f'{{"userId": 1, "items": [{_ITEM}]}}', "two", 403),
        ("POST", "/order/create", '{"userId": 1, "items": []}', "two", 403),
        ("POST", "/order/create", '{"userId": 1, "items": []}', "one", 400),
        ("POST", "/order/create", '{"userId": 1', "two", 400),
        ("POST", "/order/create", "{}", None, 401),
    ],
)
def test_with_access_on_the_gateway_refuses_first_then_the_token_then_the_rules(
    verb: str, path: str, body: str, token: str | None, status: int | None
) -> None:
    headers = {**(_JSON if body else {}), **({"authorization": f"Bearer {token}"} if token else {})}
    assert _ask(verb, path, body, headers, On({"one": 1, "two": 2})).status == status


def test_what_cannot_be_told_is_not_told() -> None:
    with pytest.raises(UndecidedError, match="large headers"):
        _ask("GET", "/product/1", "", {"x": "x" * 6000})


_ONE = frozenset({("count", "uint32.type")})


@pytest.mark.parametrize(
    ("wanted", "status", "named", "differs"),
    [
        (Expected(), 200, None, False),
        (Expected(), 412, None, False),
        (Expected(), 400, ("count", "uint32.type"), True),
        (Expected(400, _ONE), 400, ("count", "uint32.type"), False),
        (Expected(400, _ONE), 400, ("count", "uint32.range"), True),
        (Expected(400, _ONE), 400, ("sku", "uint32.type"), True),
        (Expected(400, _ONE), 200, None, True),
        (Expected(400, _ONE), 500, None, True),
        (Expected(400), 400, ("", "json.syntax"), False),
        (Expected(400), 400, ("count", "uint32.type"), True),
        (Expected(401), 400, ("count", "uint32.type"), True),
    ],
)
def test_an_answer_that_names_other_rules_is_wrong(
    wanted: Expected,
    status: int,
    named: tuple[str, str] | None,
    differs: bool,  # noqa: FBT001 - a column of the table
) -> None:
    violations = [{"field": named[0], "reason": named[1]}] if named else []
    content = json.dumps({"details": [{"fieldViolations": violations}]}).encode()
    assert bool(difference(wanted, status, content)) == differs
