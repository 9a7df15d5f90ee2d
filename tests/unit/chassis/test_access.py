"""Bearer tokens, and whom they let in."""

import dataclasses

import pytest
from chassis.v1 import options_pb2 as options
from marketplace.product.v1 import product_pb2

from services.chassis.access import KnownTokens, bearer_token
from services.chassis.contract import rpc
from services.chassis.errors import UnauthenticatedError

RPC = rpc("/marketplace.product.v1.ProductService/GetProduct")
REQUEST = product_pb2.GetProductRequest(sku=1)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        ("Bearer   abc  ", "abc"),
        ("Bearer a b", "a b"),
        ("Bearer Bearer", "Bearer"),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer    ", None),
        ("Bearerabc", None),
        ("Bearer\tabc", None),
        (" Bearer abc", None),
        ("Basic abc", None),
        ("abc", None),
    ],
)
def test_a_token_is_what_follows_the_word_bearer(authorization: str, token: str | None) -> None:
    assert bearer_token(authorization) == token


@pytest.mark.parametrize("token", [None, "", "B", "a "])
def test_an_rpc_for_tokens_takes_known_ones_only(token: str | None) -> None:
    access = KnownTokens(["a", "b"])
    access.check(RPC, "a", REQUEST)
    access.check(RPC, "b", REQUEST)

    with pytest.raises(UnauthenticatedError) as raised:
        access.check(RPC, token, REQUEST)
    assert raised.value.reason == "TOKEN_INVALID"


def test_without_known_tokens_none_is_good_enough() -> None:
    with pytest.raises(UnauthenticatedError):
        KnownTokens().check(RPC, None, REQUEST)


def test_a_public_rpc_takes_any_token_and_none() -> None:
    public = dataclasses.replace(RPC, access=options.ACCESS_PUBLIC)
    for token in (None, "wrong"):
        KnownTokens(["a"]).check(public, token, REQUEST)
