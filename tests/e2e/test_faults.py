"""Faults behind every RPC, through both doors: nobody outside learns more than that there was one, and its id."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.chassis.errors import AbortedError, AppError, NotFoundError
from services.chassis.server import Context, Servicer, servicer, serving
from tests.contract.contract import services
from tests.e2e.examples import RPCS, call, operations, request
from tests.marketplace import GATEWAY, SERVICES, free_ports, started
from tests.settings import AnySettings

CANARY = "s3cr3t-canary"
TOKEN = "testtoken"
DSN = f"postgres://user:{CANARY}@host/db"


class CanaryError(AppError):
    """Of a code and a reason that no RPC lists."""

    code = AbortedError.code
    reason = CANARY.upper()


def of_a_group() -> BaseException:
    return ExceptionGroup(CANARY, [ValueError(DSN), OSError(CANARY)])


FAULTS: dict[str, Callable[[], BaseException]] = {
    "value": lambda: ValueError(DSN),
    "key": lambda: KeyError(CANARY),
    "assertion": lambda: AssertionError(CANARY),
    "os": lambda: ConnectionRefusedError(111, f"connect to {CANARY}", "/run/" + CANARY),
    "unicode": lambda: UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    "recursion": lambda: RecursionError(CANARY),
    "memory": lambda: MemoryError(CANARY),
    "time": lambda: TimeoutError(CANARY),
    "cancelled": lambda: asyncio.CancelledError(CANARY),
    "group": of_a_group,
    "database": lambda: asyncpg.UniqueViolationError(f"Key (email)=({CANARY}) already exists."),
    "connection": lambda: asyncpg.ConnectionDoesNotExistError(DSN),
    "undocumented": lambda: CanaryError(DSN, dsn=DSN),
    "undocumented reason": lambda: NotFoundError(DSN, reason=CANARY.upper()),
    "rpc": lambda: grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(("x-secret", CANARY)), DSN, DSN
    ),
    "json": lambda: json.JSONDecodeError(CANARY, CANARY, 0),
}


class Fault:
    """What the next calls fail of."""

    make: Callable[[], BaseException]


def failing(service: ServiceDescriptor, fault: Fault) -> Servicer:
    """A servicer each of whose methods fails."""
    generated = import_module(service.file.name.replace("/", ".").replace(".proto", "_pb2_grpc"))

    async def fail(_self: object, _request: object, _context: Context) -> None:
        raise fault.make()

    methods = {method.name: fail for method in service.methods}
    filled_in = type("Failing", (getattr(generated, f"{service.name}Servicer"),), methods)
    return servicer(getattr(generated, f"add_{service.name}Servicer_to_server"), filled_in())


@pytest.fixture
def fault() -> Fault:
    return Fault()


@pytest.fixture
async def port(fault: Fault) -> AsyncIterator[int]:
    """All services on one port."""
    servicers = [failing(service, fault) for service in services().values()]
    async with serving(AnySettings(), *servicers, known_tokens=[TOKEN]) as port:
        yield port


@asynccontextmanager
async def gateway_to(port: int, log: Path) -> AsyncIterator[httpx.AsyncClient]:
    public, side = free_ports(2)
    settings = {f"GATEWAY_{name}_ADDRESS": f"127.0.0.1:{port}" for name in map(str.upper, SERVICES)}
    settings |= {"GATEWAY_LISTEN": f"127.0.0.1:{public}", "GATEWAY_SIDE_LISTEN": f"127.0.0.1:{side}"}
    with started(log, GATEWAY, **settings) as program:
        await asyncio.to_thread(program.answer, f"{program.url}/healthz")
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=program.url, headers=headers, trust_env=False) as http:
            yield http


def error_id(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "INTERNAL"
    return str(info.metadata["error_id"])


@pytest.mark.parametrize("kind", FAULTS)
async def test_over_grpc_a_fault_is_an_id_and_nothing_else(
    kind: str, logs: list[dict[str, object]], port: int, fault: Fault
) -> None:
    fault.make = FAULTS[kind]
    ids = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for rpc in RPCS:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(channel, rpc, request(rpc), f"Bearer {TOKEN}")
            error = raised.value
            everything = f"{error.details()} {error.initial_metadata()} {error.trailing_metadata()}"
            assert CANARY.lower() not in everything.lower()
            assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
            details: Any = dict(error.trailing_metadata())["grpc-status-details-bin"]
            ids.append(error_id(status_pb2.Status.FromString(details)))

    assert ids == [line["error_id"] for line in logs if line["event"] == "unforeseen error"]
    assert len(set(ids)) == len(RPCS)


async def test_over_http_a_fault_is_an_id_and_nothing_else(
    logs: list[dict[str, object]], port: int, fault: Fault, tmp_path: Path
) -> None:
    log = tmp_path / "gateway"
    ids = []
    async with gateway_to(port, log) as http:
        for make in FAULTS.values():
            fault.make = make
            for operation in operations():
                answer = await http.request(operation.verb, operation.path, json=operation.body)
                assert CANARY.lower() not in f"{answer.text} {answer.headers}".lower()
                said = answer.json()
                assert (answer.status_code, said["code"], said["message"]) == (500, code_pb2.INTERNAL, "internal error")
                [info] = said["details"]
                ids.append(info["metadata"]["error_id"])

    assert len(ids) >= 200
    assert set(ids) == {line["error_id"] for line in logs if line["event"] == "unforeseen error"}
    assert not re.search(CANARY, log.read_text(), re.IGNORECASE)
