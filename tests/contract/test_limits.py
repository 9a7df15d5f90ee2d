"""What the code and the contract both say, they say alike."""

from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from marketplace.cart.v1.cart_pb2 import CartItem, ItemAddRequest, ListResponse
from marketplace.loms.v1.loms_pb2 import OrderCreateRequest, OrderInfoResponse, OrderItem
from marketplace.product.v1.product_pb2 import ListSkusRequest, ListSkusResponse

from codegen.descriptors import Contract
from services.cart import usecases as cart_usecases
from services.cart.usecases import MAX_COUNT, MAX_LINES
from services.loms import usecases as loms_usecases
from services.loms.usecases import Status
from services.product.usecases import DEFAULT_COUNT
from tests.contract.contract import files, messages, rules
from tests.settings import LomsSettings
from tests.unit.codegen.compiled import compiled


def rules_of(message: Any, field: str) -> Any:
    return rules(message.DESCRIPTOR.fields_by_name[field])


@pytest.fixture(scope="module")
def contract() -> Contract:
    """The contract with its comments."""
    return Contract(compiled([file.name for file in files()]))


def service_of(contract: Contract, name: str) -> ServiceDescriptor:
    [found] = [service for service in contract.services() if service.name == name]
    return found


def test_every_status_of_an_order_is_one_of_the_same_five() -> None:
    statuses = {
        message.full_name: list(getattr(rules(message.fields_by_name["status"]).string, "in"))
        for message in messages()
        if "status" in message.fields_by_name
    }

    assert set(statuses) == {
        "marketplace.loms.v1.OrderEvent",
        "marketplace.loms.v1.OrderInfoResponse",
        "marketplace.notifier.v1.Notification",
    }
    assert all(of_message == list(Status) for of_message in statuses.values())


@pytest.mark.parametrize("message", [ItemAddRequest, CartItem, OrderItem])
def test_a_line_that_a_cart_can_hold_can_be_added_listed_and_ordered(message: Any) -> None:
    assert rules_of(message, "count").uint32.lte == MAX_COUNT


@pytest.mark.parametrize("message", [ListResponse, OrderCreateRequest, OrderInfoResponse])
def test_a_cart_with_all_its_lines_can_be_listed_and_ordered(message: Any) -> None:
    assert rules_of(message, "items").repeated.max_items == MAX_LINES


def test_a_page_holds_what_may_be_asked_for_and_what_nobody_asks_for() -> None:
    count = rules_of(ListSkusRequest, "count").uint32

    assert count.gte <= DEFAULT_COUNT <= count.lte
    assert rules_of(ListSkusResponse, "skus").repeated.max_items == count.lte


def test_the_limits_in_the_prose_of_the_contract_are_those_of_the_code(contract: Contract) -> None:
    cart, loms = (service_of(contract, name) for name in ("CartService", "LomsService"))
    item_add = {error.reason: error.description for error in contract.policy(cart.methods_by_name["ItemAdd"]).errors}
    count = contract.message("marketplace.product.v1.ListSkusRequest").fields_by_name["count"]

    assert f"at most {MAX_LINES} lines of at most {MAX_COUNT} units" in contract.comment(cart)
    assert f"more than {MAX_COUNT} units" in item_add["LINE_LIMIT"]
    assert f"more than {MAX_LINES} lines" in item_add["CART_LIMIT"]
    assert f"The default is {DEFAULT_COUNT}." in contract.comment(count)
    assert f"{LomsSettings().payment_minutes:g} minutes without payment" in contract.comment(loms)
    assert all(f"`{status}`" in contract.comment(loms) for status in Status)


def test_a_request_id_lives_as_long_as_the_contract_says(contract: Contract) -> None:
    cart, loms = (service_of(contract, name) for name in ("CartService", "LomsService"))
    for rpc, life in (
        (cart.methods_by_name["Checkout"], cart_usecases.REQUEST_ID_LIFE),
        (loms.methods_by_name["OrderCreate"], loms_usecases.REQUEST_ID_LIFE),
    ):
        assert f"for {life.total_seconds() / 3600:g} hours" in contract.comment(rpc)
