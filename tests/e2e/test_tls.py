"""The whole marketplace with certificates: each call between its parts is mTLS."""

from pathlib import Path

import grpc
import httpx
import pytest
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub

from services.certificates import SERVICES, renew
from tests.e2e.expect import post
from tests.marketplace import healthy_marketplace

SKU = 1076963


def settings_of(folder: Path) -> dict[str, str]:
    """The certificates in the folder, for every part."""
    settings = {}
    for service in SERVICES:
        settings[f"{service.upper()}_TLS_CERTIFICATE"] = str(folder / f"{service}.pem")
        settings[f"{service.upper()}_TLS_KEY"] = str(folder / f"{service}.key")
        settings[f"{service.upper()}_TLS_AUTHORITY"] = str(folder / "authority.pem")
    return settings


async def test_a_purchase_goes_through_services_that_take_nothing_but_mtls(tmp_path: Path) -> None:
    renew(tmp_path)
    with healthy_marketplace(tmp_path / "log", **settings_of(tmp_path)) as marketplace:
        async with httpx.AsyncClient(base_url=marketplace.url, trust_env=False) as http:
            added = await post(http, f"/user/1/cart/{SKU}", '{"count": 2}')
            ordered = await post(http, "/cart/checkout", '{"userId": 1}')
            info = await http.get("/order/info?orderId=1")
        async with grpc.aio.insecure_channel(marketplace.settings["LOMS_LISTEN"]) as plain:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await LomsServiceStub(plain).StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU), timeout=5)

    assert (added.status_code, ordered.json()) == (200, {"orderId": "1"})
    assert info.json()["items"] == [{"sku": SKU, "count": 2}]
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
