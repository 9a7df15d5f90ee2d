"""From outside one can see everything: numbers, traces and logs of purchases through the gateway, and of faults."""

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from codegen.dashboards.metrics import OF_A_SERVICE, OF_EVERY_SERVICE
from tests.marketplace import GATEWAY, SERVICES, Program, free_ports, started
from tests.monitoring.callers import call_over_grpc, call_over_http
from tests.monitoring.queries import all_are_scraped, shown_by, without_data
from tests.monitoring.stack import RARE_SKUS, SKUS, TOKEN, Watched, side_port
from tests.postgres import session
from tests.waiting import until
from tests.zipkin import spans_of

pytestmark = pytest.mark.timeout(180)

Numbers = Counter[tuple[str, ...]]
"""Values by labels."""
Span = dict[str, Any]

SKU = SKUS[0]
RARE = iter(RARE_SKUS)
USERS = count(70_000_001)
"""Users whom nobody else is; their numbers are no part of any other."""
ABSENT = 10**15
"""An order that is not there."""
STATUSES = ("new", "awaiting payment", "payed")

TAGS = {
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "rpc.grpc.status_code",
    "db.system",
    "db.operation",
    "messaging.system",
    "messaging.destination.name",
    "error",
    "otel.status_code",
    "otel.library.name",
    "otel.library.version",
    "otel.scope.name",
    "otel.scope.version",
    "service.name",
    "service.instance.id",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
}
"""All that spans tell. Each has few values, whatever callers send."""
CHECKOUT_TREE = {
    "gateway server post /cart/checkout": {"gateway client cartservice/checkout"},
    "gateway client cartservice/checkout": {"cart server cartservice/checkout"},
    "cart server cartservice/checkout": {"cart client lomsservice/ordercreate"},
    "cart client lomsservice/ordercreate": {"loms server lomsservice/ordercreate"},
    "loms server lomsservice/ordercreate": {"loms client createorder", "loms producer publish loms.order-events"},
    "loms producer publish loms.order-events": {"notifier consumer process loms.order-events"},
}
"""Zipkin writes all names in small letters."""
ADD_TREE = {
    "gateway server post /user/{user_id}/cart/{sku}": {"gateway client cartservice/itemadd"},
    "gateway client cartservice/itemadd": {"cart server cartservice/itemadd"},
    "cart server cartservice/itemadd": {
        "cart client mget",
        "cart client eval",
        "cart client productservice/getproduct",
        "cart client set",
        "cart client lomsservice/stocksinfo",
    },
    "cart client productservice/getproduct": {"product server productservice/getproduct"},
    "cart client lomsservice/stocksinfo": {"loms server lomsservice/stocksinfo"},
    "loms server lomsservice/stocksinfo": {"loms client availablestock"},
}
EVENTS_OF_AN_ORDER = 2
"""New, and awaiting payment."""

AT_ONCE = 8
SCRAPES = 20
SCRAPE_SECONDS = 0.05


@asynccontextmanager
async def to_gateway(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        yield http


async def add(http: httpx.AsyncClient, user: int, sku: int = SKU, **headers: str) -> httpx.Response:
    return (await http.post(f"/user/{user}/cart/{sku}", json={"count": 1}, headers=headers)).raise_for_status()


async def checkout(http: httpx.AsyncClient, user: int, **headers: str) -> httpx.Response:
    return (await http.post("/cart/checkout", json={"userId": user}, headers=headers)).raise_for_status()


async def notified(http: httpx.AsyncClient, order: str, statuses: Iterable[str]) -> int:
    """Waits for the notifications of these statuses; gives how often it has asked."""
    asked = 0

    async def are_there() -> bool:
        nonlocal asked
        asked += 1
        answer = (await http.get(f"/order/{order}/notifications")).raise_for_status()
        return [each["status"] for each in answer.json()["notifications"]] == [*statuses]

    await until(are_there)
    return asked


async def bought(http: httpx.AsyncClient, user: int, sku: int = SKU) -> int:
    """The purchase path; gives how often the notifications were asked for."""
    await add(http, user, sku)
    (await http.get(f"/user/{user}/cart")).raise_for_status()
    order = (await checkout(http, user)).json()["orderId"]
    (await http.post("/order/pay", json={"orderId": order})).raise_for_status()
    return await notified(http, order, STATUSES)


def lines_of(program: Program) -> list[dict[str, Any]]:
    """What is in the log."""
    return [json.loads(line) for line in program.log.read_text().splitlines() if line.startswith("{")]


def lines_with(watched: Watched, name: str, value: object) -> dict[str, list[dict[str, Any]]]:
    """The log lines that have this field, by the part of the marketplace."""
    return {
        part: [line for line in lines_of(program) if line.get(name) == value]
        for part, program in watched.programs.items()
    }


async def trace_of(gateway: Program, answer: httpx.Response) -> str:
    """The trace of an answer, as soon as the log of the gateway tells it."""
    lines: list[dict[str, Any]] = []

    async def is_told() -> bool:
        lines[:] = [line for line in lines_of(gateway) if line.get("request_id") == answer.headers["x-request-id"]]
        return len(lines) > 0

    await until(is_told)
    [line] = lines
    return str(line["trace_id"])


def traces_since(watched: Watched, began: float, name: str) -> list[list[Span]]:
    """The traces with a span of this name that began since."""
    now = time.time()
    since = round((now - began) * 1000)
    asked: dict[str, str | int] = {"spanName": name, "endTs": round(now * 1000), "lookback": since, "limit": 100}
    return list(watched.zipkin.http.get("/api/v2/traces", params=asked).raise_for_status().json())


async def whole_trace(watched: Watched, trace_id: str, is_whole: Callable[[list[Span]], bool]) -> list[Span]:
    """The spans of a trace, as soon as they are all there, or else those that came within a while."""
    found: list[Span] = []

    async def are_there() -> bool:
        found[:] = spans_of(watched.zipkin.http, trace_id)
        return parents_are_there(found) and is_whole(found)

    with suppress(TimeoutError):
        await until(are_there)
    return found


def parents_are_there(spans: list[Span]) -> bool:
    """Whether none is missing. Each process sends its spans when it likes."""
    known = {span["id"] for span in spans}
    return all(span["parentId"] in known for span in spans if "parentId" in span)


def is_notified(spans: list[Span]) -> bool:
    """Whether the ends of the way of an order are there."""
    return len([span for span in spans if span["kind"] == "CONSUMER"]) >= EVENTS_OF_AN_ORDER


def shown(span: Span) -> str:
    """The service, the kind and the name of a span."""
    return f"{span['localEndpoint']['serviceName']} {span['kind'].lower()} {span['name']}"


def tree(spans: list[Span]) -> dict[str, set[str]]:
    """What is below each span that has something below it."""
    known = {span["id"]: shown(span) for span in spans}
    below: dict[str, set[str]] = {}
    for span in spans:
        if "parentId" in span:
            below.setdefault(known.get(span["parentId"], "a span that is missing"), set()).add(shown(span))
    return below


def told(spans: list[Span]) -> list[str]:
    """All values of the attributes of spans but the ids of their processes."""
    return [value for span in spans for tag, value in span["tags"].items() if tag != "service.instance.id"]


async def test_what_dashboards_and_alerts_ask_for_is_there(watched: Watched) -> None:
    prometheus = watched.prometheus
    await until(lambda: all_are_scraped(prometheus, set(watched.programs)))
    empty = await without_data(prometheus, watched.url)
    missing = {
        name: set(OF_A_SERVICE.get(name, OF_EVERY_SERVICE)) - shown_by(name, each)
        for name, each in watched.programs.items()
    }

    assert empty == []
    assert prometheus.broken_rules() == {}
    assert missing == {name: set() for name in watched.programs}
    assert missing.keys() >= OF_A_SERVICE.keys()


async def test_a_purchase_is_a_trace_through_all_parts_that_tells_nothing_of_its_user(watched: Watched) -> None:
    user, sku, key, began = next(USERS), next(RARE), str(uuid4()), time.time()
    async with to_gateway(watched.url) as http:
        added = await add(http, user, sku, **TOKEN)
        (await http.get(f"/user/{user}/cart")).raise_for_status()
        ordered = await checkout(http, user, **{"idempotency-key": key})
        (await http.post("/order/pay", json={"orderId": ordered.json()["orderId"]})).raise_for_status()
        await notified(http, ordered.json()["orderId"], STATUSES)
        trace_id = await trace_of(watched.programs["gateway"], ordered)
        spans = await whole_trace(watched, trace_id, is_notified)
        add_id = await trace_of(watched.programs["gateway"], added)
        add_spans = await whole_trace(watched, add_id, lambda found: tree(found) == ADD_TREE)
    [found] = traces_since(watched, began, "post /cart/checkout")

    assert {span["traceId"] for span in found} == {trace_id}
    assert tree(spans) == CHECKOUT_TREE
    assert tree(add_spans) == ADD_TREE
    assert len([span for span in spans if "parentId" not in span]) == 1
    values = told(spans + add_spans)
    assert {tag for span in spans + add_spans for tag in span["tags"]} <= TAGS
    secrets = (str(user), str(sku), key, "testtoken", "?", "//", "$")
    assert [value for value in values if any(secret in value for secret in secrets)] == []


def numbers(watched: Watched, metric: str, *labels: str) -> Numbers:
    """The values of a metric by these labels, summed up over the others."""
    series = watched.prometheus.values(f"sum by ({', '.join(labels)}) ({metric})")
    return Counter({tuple(found[label] for label in labels): round(value) for found, value in series})


class Growth:
    """By how much metrics grow, as Prometheus has scraped it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._read = {
            "calls": partial(
                numbers, watched, "rpc_server_duration_seconds_count", "job", "rpc_service", "rpc_method", "rpc_code"
            ),
            "within ten seconds": partial(numbers, watched, 'rpc_server_duration_seconds_bucket{le="10.0"}', "job"),
            "requests": partial(
                numbers,
                watched,
                "http_server_request_duration_seconds_count",
                "http_request_method",
                "http_route",
                "http_response_status_code",
            ),
            "orders": partial(numbers, watched, "loms_orders_total", "status"),
            "notifications": partial(numbers, watched, "notifier_notifications_total", "status"),
            "looks at the event loop": partial(numbers, watched, "event_loop_lag_seconds_count", "job"),
        }
        self._before = self._all()

    def _all(self) -> Mapping[str, Numbers]:
        return {name: read() for name, read in self._read.items()}

    async def now(self) -> Mapping[str, Numbers]:
        """What has grown, and by how much, up to now."""
        await is_scraped(self._watched)
        return {name: after - self._before[name] for name, after in self._all().items()}


async def is_scraped(watched: Watched) -> None:
    """Waits until Prometheus has asked everybody again, after what was just answered was counted, too."""
    called = time.time() + 0.1

    async def is_later() -> bool:
        scraped = watched.prometheus.values("timestamp(up)")
        return len(scraped) == len(watched.programs) and all(at > called for _, at in scraped)

    await until(is_later)


async def test_the_numbers_are_those_of_the_calls_that_were_made(watched: Watched) -> None:
    sku = next(RARE)
    await is_scraped(watched)
    growth = Growth(watched)
    async with to_gateway(watched.url) as http:
        asked = sum([await bought(http, next(USERS), sku) for _ in range(3)])
        statuses = [
            (await http.get("/order/info", params={"orderId": ABSENT})).status_code,
            (await http.get("/stock/info", params={"sku": 0})).status_code,
            (await http.get(f"/product/{SKU}")).status_code,
            (await http.get("/nowhere")).status_code,
        ]
    grown = await growth.now()

    assert statuses == [404, 400, 401, 404]
    assert grown["calls"] == {
        ("cart", "CartService", "ItemAdd", "OK"): 3,
        ("cart", "CartService", "List", "OK"): 3,
        ("cart", "CartService", "Checkout", "OK"): 3,
        ("loms", "LomsService", "StocksInfo", "OK"): 3,
        ("loms", "LomsService", "OrderCreate", "OK"): 3,
        ("loms", "LomsService", "OrderPay", "OK"): 3,
        ("notifier", "NotifierService", "ListNotifications", "OK"): asked,
        ("product", "ProductService", "GetProduct", "OK"): 1,
        ("loms", "LomsService", "OrderInfo", "NOT_FOUND"): 1,
        ("loms", "LomsService", "StocksInfo", "INVALID_ARGUMENT"): 1,
        ("product", "ProductService", "GetProduct", "UNAUTHENTICATED"): 1,
    }
    assert grown["within ten seconds"] == {("cart",): 9, ("loms",): 11, ("notifier",): asked, ("product",): 2}
    assert grown["requests"] == {
        ("POST", "/user/{user_id}/cart/{sku}", "200"): 3,
        ("GET", "/user/{user_id}/cart", "200"): 3,
        ("POST", "/cart/checkout", "200"): 3,
        ("POST", "/order/pay", "200"): 3,
        ("GET", "/order/{order_id}/notifications", "200"): asked,
        ("GET", "/order/info", "404"): 1,
        ("GET", "/stock/info", "400"): 1,
        ("GET", "/product/{sku}", "401"): 1,
        ("GET", "unknown", "404"): 1,
    }
    assert grown["orders"] == grown["notifications"] == {(status,): 3 for status in STATUSES}
    assert {job for (job,) in grown["looks at the event loop"]} == {*SERVICES}


def in_flight(watched: Watched) -> dict[str, int]:
    """What runs now, as Prometheus has scraped it."""
    calls = numbers(watched, "rpc_server_active_calls", "rpc_service", "rpc_method")
    return {
        "requests": numbers(watched, "http_server_active_requests")[()],
        "calls of the cart": calls["CartService", "ItemAdd"],
        "calls of LOMS": calls["LomsService", "StocksInfo"],
        "connections": numbers(watched, 'db_client_connections{job="loms",state="used"}')[()],
    }


async def test_what_hangs_is_seen_while_it_hangs(watched: Watched) -> None:
    seen: dict[str, int] = {}

    async def is_seen() -> bool:
        seen.update(in_flight(watched))
        return seen == dict.fromkeys(seen, 1)

    async def is_over() -> bool:
        return in_flight(watched) == dict.fromkeys(seen, 0)

    async def keep_adding(http: httpx.AsyncClient) -> None:
        while True:
            await http.post(f"/user/{next(USERS)}/cart/{SKU}", json={"count": 1})

    async with to_gateway(watched.url) as http:
        await add(http, next(USERS))  # the catalogue is not asked any more
        async with session(watched.programs["loms"].settings["LOMS_DATABASE_URL"]) as database, database.transaction():
            await database.execute("LOCK TABLE stocks IN ACCESS EXCLUSIVE MODE")
            adding = asyncio.create_task(keep_adding(http))
            try:
                await until(is_seen)
            finally:
                adding.cancel()
                await asyncio.wait([adding])
    await until(is_over)


async def test_the_log_lines_of_a_checkout_name_spans_of_its_trace(watched: Watched) -> None:
    async with to_gateway(watched.url) as http:
        user = next(USERS)
        await add(http, user)
        answer = await checkout(http, user)
        await notified(http, answer.json()["orderId"], STATUSES[:EVENTS_OF_AN_ORDER])
    trace_id = await trace_of(watched.programs["gateway"], answer)
    spans = await whole_trace(watched, trace_id, is_notified)
    by_request = lines_with(watched, "request_id", answer.headers["x-request-id"])

    assert {part: len(lines) for part, lines in by_request.items() if lines} == {"gateway": 1, "cart": 1, "loms": 1}
    assert {line["trace_id"] for lines in by_request.values() for line in lines} == {trace_id}
    servers = {span["id"]: span["localEndpoint"]["serviceName"] for span in spans if span["kind"] == "SERVER"}
    assert {line["span_id"]: part for part, lines in by_request.items() for line in lines} == servers

    told = [line for line in lines_with(watched, "trace_id", trace_id)["notifier"] if "order_id" in line]
    handled = {span["id"] for span in spans if span["kind"] == "CONSUMER"}
    assert [line["status"] for line in told] == list(STATUSES[:EVENTS_OF_AN_ORDER])
    assert {line["span_id"] for line in told} == handled


@asynccontextmanager
async def without_stocks(watched: Watched) -> AsyncIterator[None]:
    """LOMS has lost a table."""
    async with session(watched.programs["loms"].settings["LOMS_DATABASE_URL"]) as database:
        await database.execute("ALTER TABLE stocks RENAME TO lost")
        try:
            yield
        finally:
            await database.execute("ALTER TABLE lost RENAME TO stocks")


async def test_the_id_of_a_fault_leads_to_its_log_line_and_that_to_its_trace(watched: Watched) -> None:
    async with without_stocks(watched), to_gateway(watched.url) as http:
        answer = await http.get("/stock/info", params={"sku": SKU})
    [error_id] = re.findall(r'"error_id":"(\w+)"', answer.text)
    [line] = lines_with(watched, "error_id", error_id)["loms"]
    spans = await whole_trace(
        watched, line["trace_id"], lambda found: line["span_id"] in {span["id"] for span in found}
    )

    assert answer.status_code == 500
    assert line["level"] == "error"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["trace_id"] == await trace_of(watched.programs["gateway"], answer)
    assert shown(next(span for span in spans if span["id"] == line["span_id"])) == "loms server lomsservice/stocksinfo"
    assert {shown(span) for span in spans if "error" in span["tags"]} == {shown(span) for span in spans}


async def test_a_gateway_that_samples_nothing_has_nothing_recorded_and_logs_lead_through_all_the_same(
    watched: Watched, tmp_path: Path
) -> None:
    listen, side_listen = free_ports(2)
    settings = watched.programs["gateway"].settings | {
        "GATEWAY_LISTEN": f"127.0.0.1:{listen}",
        "GATEWAY_SIDE_LISTEN": f"127.0.0.1:{side_listen}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with started(tmp_path / "gateway", GATEWAY, **settings) as gateway:
        gateway.answer(f"{gateway.url}/healthz")
        async with to_gateway(gateway.url) as http:
            user = next(USERS)
            await add(http, user)
            answer = await checkout(http, user)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.exit_code() == 0  # all that it had to send is sent
    trace_id = await trace_of(gateway, answer)
    async with to_gateway(watched.url) as http:
        await add(http, user)
        later = await trace_of(watched.programs["gateway"], await checkout(http, user))

    assert is_notified(await whole_trace(watched, later, is_notified))  # so what was recorded before is there, too
    assert spans_of(watched.zipkin.http, trace_id) == []
    lines = lines_with(watched, "trace_id", trace_id)
    assert [line["rpc"] for line in lines["cart"]] == ["CartService/Checkout"]
    assert [line["rpc"] for line in lines["loms"]] == ["LomsService/OrderCreate"]


def series(watched: Watched) -> dict[str, set[str]]:
    """The series of each part, from its side port. Those of failures are left out: in a hurry something may fail."""
    with httpx.Client(trust_env=False) as http:
        pages = {name: http.get(metrics_of(name, program)).text for name, program in watched.programs.items()}
    return {
        name: {line.rpartition(" ")[0] for line in page.splitlines() if 'outcome="error"' not in line}
        for name, page in pages.items()
    }


async def has_measured(watched: Watched) -> bool:
    """Whether LOMS has looked how much there is to send: it does so by itself, from time to time."""
    return any('query="Backlog"' in name for name in series(watched)["loms"])


def metrics_of(name: str, program: Program) -> str:
    return f"http://127.0.0.1:{side_port(name, program)}/metrics"


async def send(watched: Watched, some: range) -> None:
    """Sends requests over HTTP, and calls over gRPC, of half of these numbers each, several at once."""
    settings = watched.programs["gateway"].settings
    half = len(some) // 2
    over_http = [
        asyncio.to_thread(call_over_http, settings["GATEWAY_LISTEN"], some[first:half:AT_ONCE])
        for first in range(AT_ONCE)
    ]
    await asyncio.gather(*over_http, call_over_grpc(settings, iter(some[half:]), AT_ONCE))


@pytest.mark.parametrize("requests", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_however_many_paths_users_skus_and_request_ids_there_are_they_add_no_series(
    watched: Watched, requests: int
) -> None:
    first = next(USERS)
    async with to_gateway(watched.url) as http:
        await bought(http, first)
    await send(watched, range(first, first + 200))
    await until(lambda: has_measured(watched))
    before = series(watched)
    await send(watched, range(first + 200, first + 200 + requests))
    after = series(watched)

    assert {name: after[name] - before[name] for name in before} == {name: set() for name in before}


async def test_a_scrape_takes_no_time_worth_mentioning(watched: Watched) -> None:
    with httpx.Client(trust_env=False) as http:
        best = {
            name: min(seconds_of(http, metrics_of(name, program)) for _ in range(SCRAPES))
            for name, program in watched.programs.items()
        }

    assert {name: seconds for name, seconds in best.items() if seconds > SCRAPE_SECONDS} == {}


def seconds_of(http: httpx.Client, url: str) -> float:
    began = time.perf_counter()
    http.get(url).raise_for_status()
    return time.perf_counter() - began
