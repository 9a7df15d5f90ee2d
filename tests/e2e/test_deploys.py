"""Deploys: each replica of each service is stopped and started again while users go on."""

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.marketplace import GATEWAY, Program, free_ports, started
from tests.postgres import create_database
from tests.waiting import until

SERVICES = ("loms", "cart", "product")
REPLICAS = 2
SETTLED = 50
"""Answers after which the replicas are in use."""
STOP_SECONDS = 12
SKU = 1625903
TOKEN = {"authorization": "Bearer testtoken"}
REQUESTS: list[tuple[str, str, dict[str, str], object]] = [
    ("GET", f"/stock/info?sku={SKU}", {}, None),
    ("POST", "/order/create", {}, {"userId": 1, "items": [{"sku": SKU, "count": 1}]}),
    ("DELETE", f"/user/1/cart/{SKU}", {}, None),
    ("GET", f"/product/{SKU}", TOKEN, None),
]


@dataclass
class Replica:
    """A process of a service, at the same addresses after every start."""

    service: str
    settings: dict[str, str]
    log: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def address(self) -> str:
        return self.settings[f"{self.service.upper()}_LISTEN"]

    async def start(self) -> None:
        program = started(self.log, sys.executable, "-m", f"services.{self.service}", **self.settings)
        self._program: Program = self.stack.enter_context(program)
        side = self.settings[f"{self.service.upper()}_SIDE_LISTEN"]
        await asyncio.to_thread(self._program.answer, f"http://{side}/readyz")

    async def is_used(self) -> bool:
        """Whether its callers have found it: they look for it again within a second."""
        async with httpx.AsyncClient(trust_env=False) as http:
            page = await http.get(f"http://{self.settings[f'{self.service.upper()}_SIDE_LISTEN']}/metrics")
        return "\nrpc_server_duration_seconds_count" in page.text

    async def stop(self) -> int:
        """Tells it to stop; gives its exit code."""
        self._program.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._program.exit_code, STOP_SECONDS)


def replica_of(service: str, dsn: str, tmp_path: Path, number: int) -> Replica:
    name = service.upper()
    port, side_port = free_ports(2)
    settings = {
        f"{name}_LISTEN": f"127.0.0.1:{port}",
        f"{name}_SIDE_LISTEN": f"127.0.0.1:{side_port}",
        f"{name}_NOTICE_SECONDS": "0.5",
    }
    if service != "product":
        settings |= {f"{name}_STORAGE": "postgres", f"{name}_DATABASE_URL": dsn, f"{name}_DATABASE_DIRECT_URL": dsn}
    return Replica(service, settings, tmp_path / f"{service}-{number}")


@pytest.fixture
async def replicas(server: str, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    """Two of each service, started."""
    made = []
    for service in SERVICES:
        dsn = await create_database(server)
        made += [replica_of(service, dsn, tmp_path, number) for number in range(REPLICAS)]
    addresses = {service: addresses_of(made, service) for service in SERVICES}
    async with AsyncExitStack() as stack:
        for replica in made:
            await stack.enter_async_context(replica.stack)
            if replica.service == "cart":
                replica.settings["CART_LOMS_ADDRESS"] = addresses["loms"]
                replica.settings["CART_PRODUCT_ADDRESS"] = addresses["product"]
        await asyncio.gather(*(replica.start() for replica in made))
        yield made


def addresses_of(replicas: list[Replica], service: str) -> str:
    return ",".join(replica.address for replica in replicas if replica.service == service)


@asynccontextmanager
async def gateway_to(replicas: list[Replica], log: Path) -> AsyncIterator[httpx.AsyncClient]:
    port, side_port = free_ports(2)
    settings = {f"GATEWAY_{each.upper()}_ADDRESS": addresses_of(replicas, each) for each in SERVICES}
    settings |= {"GATEWAY_LISTEN": f"127.0.0.1:{port}", "GATEWAY_SIDE_LISTEN": f"127.0.0.1:{side_port}"}
    with started(log, GATEWAY, **settings) as program:
        await asyncio.to_thread(program.answer, f"{program.url}/stock/info?sku={SKU}")
        async with httpx.AsyncClient(base_url=program.url, trust_env=False) as http:
            yield http


class Users:
    """Sends requests at a steady rate, whatever becomes of them."""

    def __init__(self, http: httpx.AsyncClient, per_second: int) -> None:
        self._http, self._per_second = http, per_second
        self.answered = 0
        self.failed: list[str] = []

    async def go_on(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                group.create_task(self._ask(*REQUESTS[number % len(REQUESTS)]))
                await asyncio.sleep(began + number / self._per_second - time.monotonic())

    async def _ask(self, verb: str, path: str, headers: dict[str, str], body: object) -> None:
        try:
            answer = await self._http.request(verb, path, headers=headers, json=body)
        except httpx.HTTPError as error:
            self.failed.append(f"{verb} {path}: {type(error).__name__}")
            return
        if answer.is_success:
            self.answered += 1
        else:
            self.failed.append(f"{verb} {path}: {answer.status_code} {answer.text}")


@pytest.mark.parametrize(
    ("rounds", "per_second"), [pytest.param(20, 100, marks=[pytest.mark.long, pytest.mark.timeout(600)]), (1, 50)]
)
async def test_a_deploy_breaks_no_request(
    rounds: int, per_second: int, replicas: list[Replica], tmp_path: Path
) -> None:
    async with gateway_to(replicas, tmp_path / "gateway") as http:
        users = Users(http, per_second)
        load = asyncio.create_task(users.go_on())

        async def are_served() -> bool:
            return users.answered >= SETTLED

        await until(are_served)
        for _ in range(rounds):
            for replica in replicas[:: 1 if rounds > 1 else REPLICAS]:
                assert await replica.stop() == 0
                await replica.start()
                await until(replica.is_used)
        load.cancel()
        await asyncio.wait([load])

    assert users.failed == []
    assert users.answered > 2 * SETTLED
