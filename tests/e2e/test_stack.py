"""The whole stack without containers, as `make run-all` starts it: all of it works together."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from compose.stack import read_stack
from tests.marketplace import SERVICES
from tests.prometheus import api
from tests.stack import STOP_SECONDS, Stack, whole_stack
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

USER, SKU = 1, 1076963
STATUSES = ["new", "awaiting payment", "payed"]
TRACED = {"gateway", "cart", "loms", "notifier"}


@pytest.fixture
def stack() -> Iterator[Stack]:
    """The whole stack. At the end Ctrl-C stops it, and nothing is left."""
    with whole_stack() as stack:
        yield stack
        assert stack.runner.stop(seconds=STOP_SECONDS) == 0


def test_a_user_buys_and_who_watches_the_stack_sees_it(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url("GATEWAY"), trust_env=False, timeout=20) as http:
        assert http.get(f"/user/{USER}/cart").status_code == 401
        http.headers.update(stack.headers(USER))
        order = bought(http)
        wait_until(lambda: statuses(http, order) == STATUSES)
    with httpx.Client(base_url=stack.url("PROMETHEUS"), trust_env=False) as prometheus:
        wait_until(lambda: scraped(prometheus) == replicas(stack))
    with httpx.Client(base_url=stack.url("ZIPKIN"), trust_env=False) as zipkin:
        wait_until(lambda: traced(zipkin) == TRACED)


def bought(http: httpx.Client) -> str:
    """Has the user buy two units, which are gone then; gives the order."""
    before = in_stock(http)
    http.post(f"/user/{USER}/cart/{SKU}", json={"count": 2}).raise_for_status()
    assert http.get(f"/user/{USER}/cart").raise_for_status().json()["totalPrice"] == "6758"
    order = str(http.post("/cart/checkout", json={"userId": USER}).raise_for_status().json()["orderId"])
    http.post("/order/pay", json={"orderId": order}).raise_for_status()
    assert in_stock(http) == before - 2
    return order


def in_stock(http: httpx.Client) -> int:
    return int(http.get("/stock/info", params={"sku": SKU}).raise_for_status().json()["count"])


def statuses(http: httpx.Client, order: str) -> list[str]:
    """Of what the user of an order is notified."""
    told = http.get(f"/order/{order}/notifications").raise_for_status().json()["notifications"]
    return [each["status"] for each in told]


def replicas(stack: Stack) -> dict[str, int]:
    """How many processes of each service there are."""
    services = read_stack(environment=stack.runner.program.settings).services
    return {name: services[name].deploy.replicas for name in (*SERVICES, "gateway")}


def scraped(prometheus: httpx.Client) -> Counter[str]:
    """How many processes of each service answer Prometheus."""
    targets = api(prometheus, "targets", state="active")["activeTargets"]
    return Counter(each["labels"]["job"] for each in targets if each["health"] == "up")


def traced(zipkin: httpx.Client) -> set[str]:
    """The services that have a part in the trace of the checkout."""
    traces = zipkin.get("/api/v2/traces", params={"spanName": "post /cart/checkout"}).raise_for_status().json()
    return {span["localEndpoint"]["serviceName"] for spans in traces for span in spans}
