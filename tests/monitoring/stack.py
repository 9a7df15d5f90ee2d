"""The marketplace with all that it can have: each service and the gateway a process, PostgreSQL, Redis and Kafka."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal

from services.loms.seed import seed_stocks
from services.topics import TopicSettings, create_topics
from tests.kafka import running_kafka
from tests.marketplace import GATEWAY, SERVICES, Program, environment_on_free_ports, started
from tests.postgres import create_database, drop_database
from tests.prometheus import PrometheusServer, running_prometheus
from tests.redis import running_redis
from tests.zipkin import ZipkinServer, running_zipkin

*SKUS, first, second = sorted(sku for sku, stock in seed_stocks().items() if stock.available > 50)
RARE_SKUS = (first, second)
"""`purchase` leaves them alone, so the first who buys one finds that nobody has asked for it before."""
TOKEN = {"authorization": "Bearer testtoken"}


@dataclass(frozen=True)
class Watched:
    """The whole marketplace, and who watches it."""

    programs: dict[str, Program]
    prometheus: PrometheusServer
    zipkin: ZipkinServer

    @property
    def url(self) -> str:
        """Where its gateway answers."""
        return self.programs["gateway"].url


@contextmanager
def watched_stack(folder: Path, server: str) -> Iterator[Watched]:
    """The whole stack with a Prometheus that scrapes it and a Zipkin that gets all its traces."""
    with (
        running_zipkin() as zipkin,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(whole_stack(folder, server, **traces_to(zipkin))) as programs,
        running_prometheus({side_port(name, each): name for name, each in programs.items()}) as prometheus,
    ):
        zipkin.wait()
        yield Watched(programs, prometheus, zipkin)


def traces_to(zipkin: ZipkinServer) -> dict[str, str]:
    """Settings that have spans sent there, soon."""
    return {
        "OTEL_TRACES_EXPORTER": "zipkin",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": zipkin.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@asynccontextmanager
async def whole_stack(folder: Path, server: str, **more: str) -> AsyncIterator[dict[str, Program]]:
    """Starts everything with its databases on this server, its logs in the folder and `more` settings; gives the
    programs by name.

    The cart is in memory, as only that counts what is in it.
    """
    async with AsyncExitStack() as stack:
        kafka = stack.enter_context(running_kafka())
        redis = stack.enter_context(running_redis(2))
        await create_topics(TopicSettings(kafka_bootstrap=kafka.bootstrap))
        settings = environment_on_free_ports() | {
            "CART_REDIS_URLS": ",".join(shard.url for shard in redis),
            "LOMS_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "NOTIFIER_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "GATEWAY_LOG_FORMAT": "json",
            **more,
        }
        for service in ("LOMS", "NOTIFIER"):
            database = await create_database(server)
            stack.push_async_callback(drop_database, database)
            urls = dict.fromkeys((f"{service}_DATABASE_URL", f"{service}_DATABASE_DIRECT_URL"), database)
            settings |= {f"{service}_STORAGE": "postgres", **urls}
        programs = {
            service: stack.enter_context(
                started(folder / service, sys.executable, "-m", f"services.{service}", **settings)
            )
            for service in SERVICES
        }
        for service, program in programs.items():
            program.answer(f"http://127.0.0.1:{side_port(service, program)}/readyz")
        programs["gateway"] = stack.enter_context(started(folder / "gateway", GATEWAY, **settings))
        programs["gateway"].answer(f"{programs['gateway'].url}/healthz")
        yield programs


def side_port(name: str, program: Program) -> int:
    """Where a part of the stack answers operators."""
    return int(program.settings[f"{name.upper()}_SIDE_LISTEN"].rpartition(":")[2])


async def purchase(http: httpx.AsyncClient, user: int) -> None:
    """The purchase path, an order that is cancelled, and a request that is refused.

    Users that follow each other buy different things, so that the catalogue is asked, and the cache, too.
    """
    sku = SKUS[user % len(SKUS)]
    (await http.post(f"/user/{user}/cart/{sku}", json={"count": 1})).raise_for_status()
    for _ in range(2):
        (await http.get(f"/user/{user}/cart")).raise_for_status()
    (await http.get(f"/product/{sku}", headers=TOKEN)).raise_for_status()
    ordered = await http.post("/cart/checkout", json={"userId": user})
    paid = ordered.raise_for_status().json()["orderId"]
    (await http.post("/order/pay", json={"orderId": paid})).raise_for_status()
    (await http.get(f"/order/{paid}/notifications")).raise_for_status()
    (await http.post(f"/user/{user}/cart/{sku}", json={"count": 1})).raise_for_status()
    order = {"userId": user, "items": [{"sku": sku, "count": 1}]}
    cancelled = (await http.post("/order/create", json=order)).raise_for_status().json()["orderId"]
    (await http.post("/order/cancel", json={"orderId": cancelled})).raise_for_status()
    assert (await http.get("/order/info", params={"orderId": 10**9})).status_code == 404
