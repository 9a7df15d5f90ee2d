"""What callers may decide: the fields of the contract and no others. And what they get to see: likewise."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.e2e.examples import RPCS, Operation, call, channels_to, operations, request
from tests.e2e.expect import broken_rules_of, post
from tests.marketplace import ROOT, Program, healthy_marketplace
from tests.waiting import until

TOKEN = "Bearer testtoken"
SKU, OTHER_SKU = 1625903, 1148162
DOCUMENT = json.loads((ROOT / "gen" / "openapi" / "openapi.json").read_text())
BY_NAME = {rpc.name: rpc for rpc in RPCS}
FOREIGN: dict[str, Any] = {
    "status": "payed",
    "reserved": 0,
    "total": 1_000_000,
    "available": 1_000_000,
    "price": 1,
    "totalPrice": "1",
    "version": 1,
    "isAdmin": True,
    "createdAt": "2000-01-01T00:00:00Z",
    "shortages": [],
    "orderId": 1,
    "userId": 2,
    "user_id": 2,
    "order_id": 1,
    "role": "service",
    "__proto__": {},
}
"""What somebody would like to decide, with a value."""
INTERNAL = {
    *("version", "reserved", "total", "sequence", "event_id", "eventId", "shortages", "expires_at", "created_at"),
    *("updated_at", "password", "token", "secret", "is_deleted", "deleted_at", "digest", "outbox", "dead"),
}
"""What stays inside: columns of the tables, and what should never be anywhere."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A marketplace in which nobody else changes anything."""
    with healthy_marketplace(tmp_path_factory.mktemp("alone") / "log") as marketplace:
        yield marketplace


@pytest.fixture
async def http(alone: Program) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": TOKEN}
    async with httpx.AsyncClient(base_url=alone.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
async def channels(alone: Program) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    async with channels_to(alone.settings) as channels:
        yield channels


@pytest.fixture
async def order(http: httpx.AsyncClient) -> int:
    """An order of user 1 that awaits payment. His cart has a line, and so has that of user 2."""
    for user in (1, 2):
        await http.delete(f"/user/{user}/cart")
        assert (await post(http, f"/user/{user}/cart/{SKU}", '{"count": 1}')).status_code == 200
    created = await post(http, "/order/create", json.dumps({"userId": 1, "items": [{"sku": SKU, "count": 2}]}))
    order_id = int(created.json()["orderId"])

    async def is_told() -> bool:
        return len((await http.get(f"/order/{order_id}/notifications")).json()["notifications"]) == 2

    await until(is_told)
    return order_id


async def state(http: httpx.AsyncClient, order_id: int) -> list[Any]:
    """All that a request could have changed."""
    paths = [f"/stock/info?sku={sku}" for sku in (SKU, OTHER_SKU)]
    paths += [f"/order/info?orderId={each}" for each in range(1, order_id + 2)]
    paths += [f"/order/{order_id}/notifications", "/user/1/cart", "/user/2/cart"]
    return [(await http.get(path)).json() for path in paths]


def documented() -> list[tuple[str, dict[str, Any]]]:
    """The verbs and operations of the document."""
    return [(verb, operation) for each in DOCUMENT["paths"].values() for verb, operation in each.items()]


async def send(http: httpx.AsyncClient, operation: Operation, body: Any, **query: Any) -> httpx.Response:
    path = f"{operation.path}&{urlencode(query)}" if query else operation.path
    return await http.request(operation.verb, path, json=body)


async def test_over_http_a_field_that_callers_do_not_decide_is_refused_by_its_name_and_changes_nothing(
    http: httpx.AsyncClient, order: int
) -> None:
    before = await state(http, order)
    tried = 0
    for operation, (_, said) in zip(operations(userId=1, orderId=order), documented(), strict=True):
        parameters = {parameter["name"] for parameter in said.get("parameters", []) if parameter["in"] == "query"}
        for name in FOREIGN.keys() - parameters:
            answer = await send(http, operation, operation.body, **{name: FOREIGN[name]})
            assert answer.status_code == 400, (operation, name)
            assert (name, "query.unknown") in broken_rules_of(answer)
            tried += 1
        for name in FOREIGN.keys() - set(operation.body or FOREIGN):
            answer = await send(http, operation, {**operation.body, name: FOREIGN[name]})
            assert broken_rules_of(answer) == {(name, "json.unknown_field")}, (operation, name)
            tried += 1

    assert tried >= 250
    assert await state(http, order) == before


async def test_over_http_a_line_of_an_order_has_no_such_field_either(http: httpx.AsyncClient, order: int) -> None:
    before = await state(http, order)
    for name, value in FOREIGN.items():
        line = {"sku": SKU, "count": 1, name: value}

        answer = await post(http, "/order/create", json.dumps({"userId": 1, "items": [line]}))

        assert broken_rules_of(answer) == {(f"items[0].{name}", "json.unknown_field")}
    assert await state(http, order) == before


def unknown_fields(descriptor: Descriptor) -> bytes:
    """For each field number up to 40 that the message does not have, a number and a text."""
    numbers = [number for number in range(1, 41) if number not in descriptor.fields_by_number]
    tags = [varint(number << 3) + b"\x01" + varint(number << 3 | 2) + b"\x05payed" for number in numbers]
    return b"".join(tags)


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


async def told(channels: dict[str, grpc.aio.Channel], user: int, *, more: bool) -> list[tuple[str, Message]]:
    """What a user is answered who calls every RPC; with `more`, each request has unknown fields."""
    answers: list[tuple[str, Message]] = []

    async def ask(name: str, **fields: Any) -> Any:
        rpc = BY_NAME[name]
        message = request(rpc, user_id=user, **fields)
        if more:
            message.MergeFromString(unknown_fields(rpc.input_type))
            assert message.ByteSize() > 100
        answer = await call(channels[rpc.containing_service.file.package], rpc, message, TOKEN)
        answers.append((name, answer))
        return answer

    await ask("ItemAdd", sku=SKU, count=2)
    await ask("ItemAdd", sku=OTHER_SKU, count=1)
    await ask("List")
    await ask("ItemDelete", sku=OTHER_SKU)
    paid = (await ask("Checkout")).order_id
    await ask("OrderInfo", order_id=paid)
    await ask("OrderPay", order_id=paid)
    await ask("OrderInfo", order_id=paid)
    await ask("ItemAdd", sku=SKU, count=1)
    await ask("Clear")
    cancelled = (await ask("OrderCreate")).order_id
    await ask("OrderCancel", order_id=cancelled)
    await ask("OrderInfo", order_id=cancelled)
    await ask("GetProduct")
    await ask("ListSkus", count=3)
    await ask("StocksInfo", sku=1076963)
    await until_told(channels, paid)
    await ask("ListNotifications", order_id=paid)
    return answers


async def until_told(channels: dict[str, grpc.aio.Channel], order_id: int) -> None:
    """Waits for the three notifications of an order that is paid."""
    rpc = BY_NAME["ListNotifications"]

    async def is_told() -> bool:
        answer = await call(channels[rpc.containing_service.file.package], rpc, request(rpc, order_id=order_id))
        return len(answer.notifications) == 3

    await until(is_told)


async def test_over_grpc_unknown_fields_have_no_effect(channels: dict[str, grpc.aio.Channel]) -> None:
    with_more, without = await told(channels, 11, more=True), await told(channels, 12, more=False)

    assert {name for name, _ in with_more} == BY_NAME.keys()
    assert [(name, plain(answer)) for name, answer in with_more] == [(name, plain(answer)) for name, answer in without]
    assert not any(len(UnknownFieldSet(answer)) for _, answer in with_more)


def plain(answer: Message) -> dict[str, Any]:
    """Without what differs between two users."""
    found: dict[str, Any] = json_format.MessageToDict(answer)
    for notification in found.get("notifications", []):
        del notification["moment"]
    return {name: value for name, value in found.items() if name not in {"orderId", "userId"}}


def undocumented(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """The places in an answer that its schema does not have, or that it wants and are missing."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        places = [undocumented(each, schema["items"], f"{place}[]") for each in value]
        return [found for each in places for found in each]
    if not isinstance(value, dict):
        return []
    fields = schema.get("properties", {})
    differing = (value.keys() - fields.keys()) | (set(schema.get("required", ())) - value.keys())
    wrong = [f"{place}.{name}" for name in differing]
    for name in value.keys() & fields.keys():
        wrong += undocumented(value[name], fields[name], f"{place}.{name}")
    return wrong


async def test_an_answer_has_the_fields_of_the_document_and_no_more(http: httpx.AsyncClient, order: int) -> None:
    """Each operation succeeds, so that there is something to look at."""
    created = await post(http, "/order/create", json.dumps({"userId": 1, "items": [{"sku": SKU, "count": 1}]}))
    unpaid = int(created.json()["orderId"])
    seen: dict[str, list[str]] = {}
    for found, (_, said) in zip(operations(userId=1, orderId=order), documented(), strict=True):
        name = said["operationId"]
        operation = replace(found, body={"orderId": unpaid}) if name == "OrderCancel" else found
        if name in {"List", "Checkout", "Checkout_2"}:
            await post(http, f"/user/1/cart/{SKU}", '{"count": 1}')
        answer = await send(http, operation, operation.body)
        assert answer.status_code in {200, 204}, (name, answer.text)
        content = said["responses"][str(answer.status_code)].get("content", {})
        if content:
            seen[name] = undocumented(answer.json(), content["application/json"]["schema"])
        else:
            assert answer.content == b""

    assert {name: wrong for name, wrong in seen.items() if wrong} == {}
    assert len(seen) == len(documented()) - 2  # what deletes answers nothing


def test_a_field_that_is_not_in_the_document_would_be_found() -> None:
    item = {"sku": 1, "count": 1}
    info = {"status": "new", "userId": "1", "items": [{**item, "reserved": 1}], "version": 2}
    schema = {"$ref": "#/components/schemas/OrderInfoResponse"}

    assert sorted(undocumented(info, schema)) == [".items[].reserved", ".version"]
    assert undocumented({"status": "new", "items": [item]}, schema) == [".userId"]


def public() -> dict[str, Descriptor]:
    """The messages that travel between callers and services, by name."""
    found: dict[str, Descriptor] = {}
    waiting = [each for rpc in RPCS for each in (rpc.input_type, rpc.output_type)]
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
    return found


def test_no_public_message_has_an_internal_field() -> None:
    names = {field.name for message in public().values() for field in message.fields}

    assert names & {"sku", "user_id", "order_id", "count"}
    assert names & INTERNAL == set()
