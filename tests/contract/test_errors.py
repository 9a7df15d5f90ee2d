"""The errors of the code and those of the contract are the same."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from google.protobuf.descriptor import MethodDescriptor
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.loms.v1 import loms_pb2
from marketplace.product.v1 import product_pb2

from services.cart.clients import LomsClient, ProductClient
from services.cart.memory import MemoryStorage
from services.cart.servicer import CartServicer
from services.cart.usecases import Carts
from services.chassis.clock import utc_now
from services.chassis.contract import REFUSALS, Rpc, rpc
from services.chassis.errors import AppError, UnavailableError
from services.chassis.server import Context
from services.chassis.status import GRPC_CODES
from tests.contract.contract import Outcome, errors_of, listed, methods, outcome, policy
from tests.marketplace import SERVICES

PRODUCT, LOMS = "/marketplace.product.v1.ProductService/", "/marketplace.loms.v1.LomsService/"
BEHIND_CART = (f"{PRODUCT}GetProduct", f"{LOMS}StocksInfo", f"{LOMS}OrderCreate")
NO_CONTEXT = cast("Context", None)
CLASSES = {cls.code: cls for cls in AppError.__subclasses__()}


class Behind:
    """The services behind the cart, where one RPC fails."""

    def __init__(self, failing: str = "", error: Exception | None = None) -> None:
        self._failing = failing
        self._error = error

    async def GetProduct(self, request: product_pb2.GetProductRequest) -> product_pb2.GetProductResponse:
        self._end(f"{PRODUCT}GetProduct")
        return product_pb2.GetProductResponse(sku=request.sku, name="x", price=1)

    async def StocksInfo(self, _request: loms_pb2.StocksInfoRequest) -> loms_pb2.StocksInfoResponse:
        self._end(f"{LOMS}StocksInfo")
        return loms_pb2.StocksInfoResponse(count=10)

    async def OrderCreate(self, _request: loms_pb2.OrderCreateRequest) -> loms_pb2.OrderCreateResponse:
        self._end(f"{LOMS}OrderCreate")
        return loms_pb2.OrderCreateResponse(order_id=1)

    def _end(self, path: str) -> None:
        if path == self._failing and self._error is not None:
            raise self._error


def cart(storage: MemoryStorage, behind: Any) -> CartServicer:
    return CartServicer(Carts(storage, ProductClient(behind), LomsClient(behind), utc_now))


async def outcome_at_cart(method: str, failing: str, error: AppError) -> Outcome | None:
    """How a call to a cart with one line ends when an RPC behind it fails; None: it does not fail."""
    storage = MemoryStorage()
    await cart(storage, Behind()).ItemAdd(pb.ItemAddRequest(user_id=1, sku=1, count=1), NO_CONTEXT)
    requests = {
        "ItemAdd": pb.ItemAddRequest(user_id=1, sku=1, count=1),
        "ItemDelete": pb.ItemDeleteRequest(user_id=1, sku=1),
        "List": pb.ListRequest(user_id=1),
        "Clear": pb.ClearRequest(user_id=1),
        "Checkout": pb.CheckoutRequest(user_id=1),
    }
    try:
        await getattr(cart(storage, Behind(failing, error)), method)(requests[method], NO_CONTEXT)
    except AppError as raised:
        return outcome(raised)
    return None


def failures_behind_cart() -> Iterator[tuple[str, AppError]]:
    """Every way in which an RPC behind the cart may fail, as the cart gets it."""
    for path in BEHIND_CART:
        for code, reason in rpc(path).catalogue:
            yield path, CLASSES[code]("no", reason=reason)


async def passed_on(described: Rpc) -> set[Outcome]:
    """What an RPC of the cart makes of the failures behind it."""
    method = described.path.rpartition("/")[2]
    found = [await outcome_at_cart(method, path, error) for path, error in failures_behind_cart()]
    return {one for one in found if one is not None}


@pytest.mark.parametrize("service", SERVICES)
def test_every_error_of_a_service_is_listed_by_one_of_its_rpcs(service: str) -> None:
    in_contract = set().union(*(listed(policy(method)) for method in methods(service)))

    assert {outcome(cls) for cls in errors_of(service)} <= in_contract


@pytest.mark.parametrize("method", methods("cart"), ids=lambda method: str(method.name))
async def test_what_comes_from_behind_the_cart_is_listed_by_the_rpc_that_passes_it_on(method: MethodDescriptor) -> None:
    described = policy(method)

    assert await passed_on(described) <= listed(described)


@pytest.mark.parametrize("method", methods(), ids=lambda method: str(method.full_name))
async def test_every_listed_error_is_one_of_the_service_or_of_its_access_or_from_behind_it(
    method: MethodDescriptor,
) -> None:
    described = policy(method)
    service = method.full_name.split(".")[1]
    possible = {outcome(cls) for cls in errors_of(service)}
    if service == "cart":
        possible |= await passed_on(described)
    possible |= {(GRPC_CODES[code].name, reason) for code, reason in REFUSALS[described.access]}

    assert listed(described) <= possible


@pytest.mark.parametrize("method", methods(), ids=lambda method: str(method.full_name))
def test_an_rpc_with_a_request_id_lists_how_the_gateway_refuses_two_that_differ(method: MethodDescriptor) -> None:
    has_request_id = "request_id" in method.input_type.fields_by_name

    assert (("ABORTED", "REQUEST_ID_REUSED") in listed(policy(method))) == has_request_id


@pytest.mark.parametrize("path", BEHIND_CART)
async def test_the_cart_asks_each_of_the_rpcs_behind_it(path: str) -> None:
    ends = [await outcome_at_cart(name, path, UnavailableError("down")) for name in ("ItemAdd", "List", "Checkout")]

    assert outcome(UnavailableError) in ends
