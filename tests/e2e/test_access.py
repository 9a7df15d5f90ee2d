"""With access on, through both doors: who may call what, and whose things he gets to see."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from chassis.v1 import options_pb2 as options
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from marketplace.loms.v1 import loms_pb2, loms_pb2_grpc

from services.token import Signer, signer
from tests.contract.contract import policy
from tests.e2e.examples import RPCS, Operation, call, channels_to, operations, request
from tests.e2e.expect import post
from tests.marketplace import Program, healthy_marketplace
from tests.tokens import OTHER_USER, USER, bad_tokens
from tests.waiting import until

SKU = 1625903
SCANNED = 1000


def bearer(token: str) -> str:
    return f"Bearer {token}".strip()


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def guarded(signs: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A marketplace with access on."""
    folder = str(signs.keys.parent)
    log = tmp_path_factory.mktemp("guarded") / "log"
    with healthy_marketplace(log, MARKETPLACE_ACCESS="on", MARKETPLACE_ACCESS_FOLDER=folder) as marketplace:
        yield marketplace


@pytest.fixture
async def http(guarded: Program) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        yield client


@pytest.fixture
async def channels(guarded: Program) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    async with channels_to(guarded.settings) as channels:
        yield channels


def channel_of(channels: dict[str, grpc.aio.Channel], rpc: MethodDescriptor) -> grpc.aio.Channel:
    return channels[rpc.containing_service.file.package]


async def code_of(channels: dict[str, grpc.aio.Channel], rpc: MethodDescriptor, *tokens: str, **fields: Any) -> str:
    """How a call ends that brings these tokens."""
    try:
        await call(channel_of(channels, rpc), rpc, request(rpc, **fields), *map(bearer, tokens))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def refusal(http: httpx.AsyncClient, operation: Operation, *tokens: str) -> tuple[int, int]:
    """The status and the code with which a request ends that brings these tokens."""
    headers = [("authorization", bearer(token)) for token in tokens]
    answer = await http.request(operation.verb, operation.path, json=operation.body, headers=headers)
    return answer.status_code, answer.json()["code"]


def rpcs(*kinds: options.Access.ValueType) -> list[MethodDescriptor]:
    """The RPCs with access of these kinds."""
    return [rpc for rpc in RPCS if policy(rpc).access in kinds]


def _rpc(name: str) -> MethodDescriptor:
    [found] = [rpc for rpc in RPCS if rpc.name == name]
    return found


async def create(channels: dict[str, grpc.aio.Channel], token: str, user_id: int = USER) -> int:
    loms = loms_pb2_grpc.LomsServiceStub(channels["marketplace.loms.v1"])
    wanted = loms_pb2.OrderCreateRequest(user_id=user_id, items=[loms_pb2.OrderItem(sku=SKU, count=1)])
    created = await loms.OrderCreate(wanted, metadata=[("authorization", bearer(token))])
    return created.order_id


async def test_over_grpc_no_bad_token_opens_anything(
    channels: dict[str, grpc.aio.Channel], signs: Signer, tmp_path: Path
) -> None:
    tokens = bad_tokens(signs, tmp_path / "stranger")
    closed = [rpc for rpc in RPCS if policy(rpc).access != options.ACCESS_PUBLIC]
    assert len(closed) == len(RPCS) - 1  # the stock is for everybody

    opened = {
        (rpc.name, kind) for rpc in closed for kind in tokens if await code_of(channels, rpc, tokens[kind]) != REFUSED
    }
    without = {rpc.name for rpc in closed if await code_of(channels, rpc) != REFUSED}
    twice = {rpc.name for rpc in closed if await code_of(channels, rpc, *[signs.of_user(USER)] * 2) != REFUSED}

    assert (opened, without, twice) == (set(), set(), set())


REFUSED = "UNAUTHENTICATED"


async def test_over_http_no_bad_token_opens_anything(http: httpx.AsyncClient, signs: Signer, tmp_path: Path) -> None:
    tokens = bad_tokens(signs, tmp_path / "stranger")
    given = [*([token] for token in tokens.values()), [], [signs.of_user(USER)] * 2]
    for operation in operations(userId=USER):
        for one in given:
            if operation.access != "public":
                assert await refusal(http, operation, *one) == (401, 16), (operation, one)


async def test_a_good_token_of_a_user_opens_what_is_his(channels: dict[str, grpc.aio.Channel], signs: Signer) -> None:
    token = signs.of_user(USER)

    ends = {rpc.name: await code_of(channels, rpc, token, order_id=10**9) for rpc in RPCS}

    assert not {"UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN"} & set(ends.values()), ends


async def test_what_a_user_owns_is_for_no_other_user(
    http: httpx.AsyncClient, channels: dict[str, grpc.aio.Channel], signs: Signer
) -> None:
    own, others = signs.of_user(USER), signs.of_user(OTHER_USER)
    added = {"sku": SKU, "count": 1}
    assert await code_of(channels, _rpc("ItemAdd"), own, **added) == "OK"

    for rpc in rpcs(options.ACCESS_OWN_USER):
        assert await code_of(channels, rpc, others) == "PERMISSION_DENIED", rpc.name
    for operation in operations(userId=USER):
        if operation.access == "own_user":
            assert await refusal(http, operation, others) == (403, 7), operation

    cart = await call(channel_of(channels, _rpc("List")), _rpc("List"), request(_rpc("List")), bearer(own))
    assert [(item.sku, item.count) for item in cart.items] == [(SKU, 1)]


async def test_an_order_does_not_exist_for_others(
    http: httpx.AsyncClient, channels: dict[str, grpc.aio.Channel], signs: Signer
) -> None:
    own, others = signs.of_user(USER), signs.of_user(OTHER_USER)
    order_id = await create(channels, own)

    for rpc in rpcs(options.ACCESS_OWNER):
        if rpc.name != "ListNotifications":
            assert await code_of(channels, rpc, others, order_id=order_id) == "NOT_FOUND", rpc.name
    for operation in operations(orderId=order_id):
        if operation.access == "owner" and "notifications" not in operation.path:
            assert await refusal(http, operation, others) == (404, 5), operation

    info = await http.get("/order/info", params={"orderId": order_id}, headers={"authorization": bearer(own)})
    assert (info.status_code, info.json()["status"]) == (200, "awaiting payment")


async def test_notifications_are_for_the_orders_user_and_for_services(
    http: httpx.AsyncClient, channels: dict[str, grpc.aio.Channel], signs: Signer
) -> None:
    own, others, service = signs.of_user(USER), signs.of_user(OTHER_USER), signs.of_service("support")
    order_id = await create(channels, own)

    async def told(token: str) -> int:
        answer = await http.get(f"/order/{order_id}/notifications", headers={"authorization": bearer(token)})
        assert answer.status_code == 200
        return len(answer.json()["notifications"])

    async def all_are_there() -> bool:
        return await told(service) == 2

    await until(all_are_there)
    assert (await told(own), await told(others)) == (2, 0)


async def test_who_tries_all_ids_finds_only_his_own(channels: dict[str, grpc.aio.Channel], signs: Signer) -> None:
    others = signs.of_user(OTHER_USER)
    await create(channels, signs.of_user(USER))
    known = {await create(channels, others, OTHER_USER) for _ in range(3)}

    found = {
        order_id
        for order_id in range(1, SCANNED + 1)
        if await code_of(channels, _rpc("OrderInfo"), others, order_id=order_id) == "OK"
    }

    assert max(known) <= SCANNED
    assert known <= found
    loms = channels["marketplace.loms.v1"]
    for order_id in found:
        info = await call(loms, _rpc("OrderInfo"), request(_rpc("OrderInfo"), order_id=order_id), bearer(others))
        assert info.user_id == OTHER_USER


async def test_a_service_may_act_for_any_user(channels: dict[str, grpc.aio.Channel], signs: Signer) -> None:
    token = signs.of_service("support")

    for user_id in (USER, OTHER_USER):
        order_id = await create(channels, token, user_id)
        assert await code_of(channels, _rpc("OrderPay"), token, order_id=order_id) == "OK"


async def test_a_cart_becomes_an_order_with_the_users_own_token(http: httpx.AsyncClient, signs: Signer) -> None:
    headers = {"authorization": bearer(signs.of_user(77))}

    assert (await post(http, f"/user/77/cart/{SKU}", '{"count": 2}', **headers)).status_code == 200
    assert (await http.get("/user/77/cart", headers=headers)).json()["items"][0]["count"] == 2
    order_id = (await post(http, "/cart/checkout", '{"userId": 77}', **headers)).json()["orderId"]
    info = (await http.get("/order/info", params={"orderId": order_id}, headers=headers)).json()

    assert (info["status"], info["userId"]) == ("awaiting payment", "77")


async def test_reflection_is_for_valid_tokens_and_health_for_everybody(
    http: httpx.AsyncClient, channels: dict[str, grpc.aio.Channel], signs: Signer
) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(channels["marketplace.loms.v1"])

    async def listed(*metadata: tuple[str, str]) -> list[str]:
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        answers = [answer async for answer in reflection.ServerReflectionInfo(iter(asked), metadata=metadata)]
        return [service.name for service in answers[0].list_services_response.service]

    assert "marketplace.loms.v1.LomsService" in await listed(("authorization", bearer(signs.of_user(USER))))
    refused: Any = reflection.ServerReflectionInfo()
    assert await refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await http.get("/healthz")).status_code == 200


async def test_the_document_says_that_tokens_are_needed(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    for path, each in document["paths"].items():
        for verb, operation in each.items():
            kind, answers = operation["x-access"], operation["responses"].keys()
            assert operation.get("security", []) == ([] if kind == "public" else [{"bearer": []}]), (verb, path)
            assert "401" in answers, (verb, path)  # of a public one, too: the gateway refuses a header that is broken
            assert ("403" in answers) is (kind == "own_user"), (verb, path)
