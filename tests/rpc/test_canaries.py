"""Secrets are in no log line, no span and no metric, whatever fails and whoever writes it."""

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
import structlog
from google.protobuf.descriptor import MethodDescriptor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.chassis import tracers
from services.chassis.background import background, every
from services.chassis.log import Format, Logger, configure_logging, get_logger
from services.chassis.metrics import exposition
from services.chassis.postgres import database
from services.chassis.redis_shards import redis_shards
from services.chassis.server import serving
from services.chassis.settings import StartError
from services.chassis.spans import RecordingTracer
from tests.contract.contract import services
from tests.e2e.examples import RPCS, request
from tests.e2e.test_faults import CANARY, FAULTS, Fault, failing
from tests.marketplace import free_ports
from tests.settings import AnySettings
from tests.waiting import until

TOKEN = f"{CANARY}-token"
SAMPLED = ("traceparent", f"00-{1:032x}-{2:016x}-01")


@dataclass(frozen=True)
class Told:
    """All that was told since it began."""

    log: Path
    exporter: InMemorySpanExporter

    def lines(self) -> str:
        return self.log.read_text()

    def spans(self) -> list[str]:
        return [span.to_json() for span in self.exporter.get_finished_spans()]


@pytest.fixture(params=["json", "console"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Told]:
    """The telemetry of a service, set up as in production but for where it goes."""
    form: Format = request.param
    before = structlog.get_config()
    monkeypatch.setattr(Logger, "level", Logger.level)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracers, "_tracers", {"tested": RecordingTracer("tested", SimpleSpanProcessor(exporter))})
    log = tmp_path / "log"
    with log.open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        configure_logging("debug", form)
        yield Told(log, exporter)
        monkeypatch.undo()
        structlog.configure(**before)


@pytest.fixture
def fault() -> Fault:
    return Fault()


@pytest.fixture
async def channel(fault: Fault) -> AsyncIterator[grpc.aio.Channel]:
    """All services on one port."""
    servicers = [failing(service, fault) for service in services().values()]
    async with (
        serving(AnySettings(), *servicers, known_tokens=[TOKEN]) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


async def sampled_call(channel: grpc.aio.Channel, rpc: MethodDescriptor, authorization: str) -> None:
    message = request(rpc)
    method: Any = channel.unary_unary(
        f"/{rpc.containing_service.full_name}/{rpc.name}", request_serializer=type(message).SerializeToString
    )
    await method(message, metadata=[("authorization", authorization), SAMPLED], timeout=5)


async def test_whatever_fails_in_a_call_its_telemetry_tells_no_secret(
    told: Told, channel: grpc.aio.Channel, fault: Fault
) -> None:
    calls = 0
    for make in FAULTS.values():
        fault.make = make
        for rpc in RPCS:
            for token in (TOKEN, f"{CANARY}-wrong"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await sampled_call(channel, rpc, f"Bearer {token}")
                calls += 1

    async def are_told() -> bool:  # a call is answered before its span ends
        return len(told.spans()) == calls

    await until(are_told)
    lines, spans = told.lines(), told.spans()
    assert lines.count("unforeseen error") >= len(FAULTS) * len(RPCS)
    assert lines.count("Traceback") >= len(FAULTS) * len(RPCS)
    for text in (lines, "".join(spans), exposition().decode()):
        assert CANARY not in text.lower()


async def fail_of_a_secret() -> NoReturn:
    raise ValueError(f"postgresql://user:{CANARY}@127.0.0.1/db") from KeyError(CANARY)


async def test_what_fails_in_the_background_tells_no_secret(told: Told) -> None:
    async def is_told() -> bool:
        return "background action failed" in told.lines()

    async with background(every(0.001, fail_of_a_secret, get_logger("tested"))):
        await until(is_told)

    assert "in fail_of_a_secret" in told.lines()
    assert CANARY not in told.lines()


async def test_a_database_and_a_redis_that_cannot_be_reached_tell_no_password(told: Told) -> None:
    [port] = free_ports(1)
    log = get_logger("tested")
    with pytest.raises(StartError) as raised:
        async with database(f"postgresql://user:{CANARY}@127.0.0.1:{port}/db", "LOMS_DATABASE_URL", log, 1):
            pass
    async with redis_shards([f"redis://user:{CANARY}@127.0.0.1:{port}"], log) as shards:
        assert await shards.read(["a"]) == {}

    lines = told.lines()
    assert "shard is down" in lines
    assert CANARY not in lines + str(raised.value)


def lose_the_connection() -> NoReturn:
    raise ConnectionError(CANARY)


@pytest.mark.parametrize("write", [logging.Logger.error, logging.Logger.exception])
def test_the_lines_of_libraries_tell_no_texts_of_exceptions(write: Callable[..., None], told: Told) -> None:
    try:
        lose_the_connection()
    except ConnectionError as error:
        write(logging.getLogger("library"), "no connection: %s", error)

    lines = told.lines()
    assert "no connection: ConnectionError" in lines
    assert CANARY not in lines
