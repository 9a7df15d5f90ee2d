"""Traces: one tree from the call of a user to the notification, and what happens where nobody collects it."""

import asyncio
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any, ClassVar

import grpc
import pytest
from marketplace.cart.v1 import cart_pb2
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.product.v1 import product_pb2, product_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from services.cart.__main__ import shards_of
from services.chassis import tracers
from services.chassis.call import Call, current_call
from services.chassis.client import client
from services.chassis.errors import OverloadedError
from services.chassis.log import get_logger
from services.chassis.settings import StartError
from services.chassis.spans import RecordingTracer
from services.loms.__main__ import loms
from tests.marketplace import free_ports, started
from tests.postgres import migrated_database, session
from tests.redis import running_redis
from tests.rpc import products
from tests.rpc.expect import error_of
from tests.rpc.products import Products
from tests.settings import FREE, CartSettings, LomsSettings
from tests.waiting import until

SKU = 1076963
TRACE = 0xA1B2
SAMPLED = ("traceparent", f"00-{TRACE:032x}-{2:016x}-01")
UNSAMPLED = ("traceparent", f"00-{TRACE:032x}-{2:016x}-00")
NO_TRACE = f"00-{0:032x}-{0:016x}-01"
STOP_SECONDS = 1.0
SLACK_SECONDS = 4
"""What a stop takes anyway, on a machine that has other things to do."""


class Collected:
    """The spans that services have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def tracer(self, service: str) -> RecordingTracer:
        return RecordingTracer(service, SimpleSpanProcessor(self.exporter))

    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name and span.kind is kind]

    async def have(self, count: int) -> None:
        async def are_there() -> bool:
            return len(self.all()) >= count

        await until(are_there)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """What the services collect that start in this test."""
    collected = Collected()
    made = {service: collected.tracer(service) for service in ("cart", "loms", "notifier", "product")}
    monkeypatch.setattr(tracers, "_tracers", made)
    return collected


def order(count: int = 1) -> loms_pb2.OrderCreateRequest:
    return loms_pb2.OrderCreateRequest(user_id=1, items=[loms_pb2.OrderItem(sku=SKU, count=count)])


def trace_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def shown(span: ReadableSpan) -> str:
    """The service, the kind and the name of a span."""
    service = str(span.resource.attributes[SERVICE_NAME])
    return f"{service} {span.kind.name} {span.name}"


def links(spans: Sequence[ReadableSpan]) -> list[tuple[str, str]]:
    """Of each span: what it is, and what its parent is."""
    known = {span_id(span): shown(span) for span in spans}
    return sorted((shown(span), known.get(span.parent.span_id, "the caller") if span.parent else "") for span in spans)


@pytest.mark.usefixtures("collected", "notifier_stub")
async def test_a_purchase_is_one_trace_through_services_and_topic(
    collected: Collected, cart_stub: CartServiceStub
) -> None:
    await cart_stub.ItemAdd(cart_pb2.ItemAddRequest(user_id=1, sku=SKU, count=1), metadata=(UNSAMPLED,))
    await cart_stub.Checkout(cart_pb2.CheckoutRequest(user_id=1), metadata=(SAMPLED,))
    await collected.have(7)

    order = "LomsService/OrderCreate"
    publish = ("loms PRODUCER publish loms.order-events", f"loms SERVER {order}")
    process = ("notifier CONSUMER process loms.order-events", publish[0])
    assert links(collected.all()) == [
        (f"cart CLIENT {order}", "cart SERVER CartService/Checkout"),
        ("cart SERVER CartService/Checkout", "the caller"),
        publish,
        publish,
        (f"loms SERVER {order}", f"cart CLIENT {order}"),
        process,
        process,
    ]
    assert {trace_id(span) for span in collected.all()} == {TRACE}


async def test_a_span_tells_the_rpc_and_its_code_and_only_a_fault_of_the_server_is_an_error(
    collected: Collected, loms_stub: LomsServiceStub
) -> None:
    await error_of(loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=5), metadata=(SAMPLED,)))

    await collected.have(1)
    [span] = collected.all()
    assert dict(span.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "marketplace.loms.v1.LomsService",
        "rpc.method": "StocksInfo",
        "rpc.grpc.status_code": grpc.StatusCode.NOT_FOUND.value[0],
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_each_statement_of_a_call_is_a_span_without_values(collected: Collected, server: str) -> None:
    dsn = await migrated_database(server, "loms")
    settings = LomsSettings(
        listen=FREE, side_listen=FREE, storage="postgres", database_url=dsn, database_direct_url=dsn
    )
    async with loms(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await LomsServiceStub(channel).OrderCreate(order(), metadata=(SAMPLED,))
        await collected.have(4)
        async with session(dsn) as database:  # what is not known to be sent is sent once more at the end
            await until(lambda: database.fetchval("SELECT NOT EXISTS (SELECT FROM outbox)"))

    [statement] = collected.named("CreateOrder", SpanKind.CLIENT)
    [call] = collected.named("LomsService/OrderCreate", SpanKind.SERVER)
    assert statement.parent
    assert statement.parent.span_id == span_id(call)
    assert dict(statement.attributes or {}) == {"db.system": "postgresql", "db.operation": "insert"}
    assert len(collected.named("publish loms.order-events", SpanKind.PRODUCER)) == 2
    assert len(collected.all()) == 4


async def test_each_command_to_redis_is_a_span(collected: Collected) -> None:
    with running_redis(2) as servers:
        settings = CartSettings(redis_urls=",".join(server.url for server in servers))
        span = collected.tracer("cart").span("call", "server", {}, SAMPLED[1])
        assert span is not None
        async with shards_of(settings, get_logger("cart")) as shards:
            assert shards is not None
            with serving_call(Call(None, "r", 0, deadline_is_ours=True, traceparent=span.traceparent, span=span)):
                await shards.write("a", b"1", 10)
                assert await shards.read(["a"]) == {"a": b"1"}
            assert await shards.read(["b"]) == {}

    assert [span.name for span in collected.all()] == ["SET", "MGET"]
    assert {span.parent.span_id for span in collected.all() if span.parent} == {int(span.traceparent[36:52], 16)}


@contextmanager
def serving_call(call: Call) -> Iterator[None]:
    before = current_call.set(call)
    yield
    current_call.reset(before)


async def test_each_attempt_is_a_span_that_the_called_service_continues(collected: Collected) -> None:
    catalogue = Products(failures=[OverloadedError("later", 0.001)])
    span = collected.tracer("cart").span("call", "server", {}, SAMPLED[1])
    now = asyncio.get_running_loop().time()
    call = Call(None, "r", now + 5, deadline_is_ours=True, traceparent=SAMPLED[1], span=span)
    async with (
        products.serving(catalogue) as (port, _),
        client(product_pb2_grpc.ProductServiceStub, f"127.0.0.1:{port}", "product") as stub,
    ):
        with serving_call(call):
            await stub.GetProduct(product_pb2.GetProductRequest(sku=1))

    first, second = collected.named("ProductService/GetProduct", SpanKind.CLIENT)
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {})["rpc.grpc.status_code"] for span in (first, second)] == [8, 0]
    assert catalogue.metadata["traceparent"] == f"00-{TRACE:032x}-{span_id(second):016x}-01"


class NoTracer:
    """Fails when somebody asks for a span."""

    def span(self, *_: object) -> None:
        raise AssertionError("a span for a trace that is not sampled")

    def close(self) -> None:
        pass


async def test_of_a_trace_that_is_not_sampled_nothing_is_recorded_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(tracers, "_tracers", {"loms": NoTracer()})
    async with (
        loms(LomsSettings(listen=FREE, side_listen=FREE)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await LomsServiceStub(channel).OrderCreate(order(), metadata=(UNSAMPLED,))

    [line] = [line for line in logs if line["event"] == "call"]
    assert line["code"] == "OK"
    assert line["trace_id"] == f"{TRACE:032x}"
    assert "span_id" not in line


async def test_a_call_that_comes_without_a_trace_gets_one(
    collected: Collected, logs: list[dict[str, object]], loms_stub: LomsServiceStub
) -> None:
    await loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU))
    await loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU), metadata=(("traceparent", NO_TRACE),))

    await collected.have(2)
    spans = collected.all()
    lines = [line for line in logs if line["event"] == "call"]
    assert [line["trace_id"] for line in lines] == [f"{trace_id(span):032x}" for span in spans]
    assert [line["span_id"] for line in lines] == [f"{span_id(span):016x}" for span in spans]
    assert len({line["trace_id"] for line in lines}) == 2


def test_without_an_exporter_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from services.loms.__main__ import LomsSettings, loms
async def run():
    async with loms(LomsSettings(listen="127.0.0.1:0", side_listen="127.0.0.1:0")):
        pass
asyncio.run(run())
sys.exit(any(name.split(".")[0] in {"opentelemetry", "tracemalloc"} for name in sys.modules))
"""
    with started(tmp_path / "log", sys.executable, "-c", program) as started_program:
        assert started_program.exit_code(20) == 0


@contextmanager
def product_of(log: Path, **variables: str) -> Iterator[tuple[Any, int]]:
    """The catalogue as a process; gives the port, too."""
    port, side_port = free_ports(2)
    settings = {"PRODUCT_LISTEN": f"127.0.0.1:{port}", "PRODUCT_SIDE_LISTEN": f"127.0.0.1:{side_port}", **variables}
    with started(log, sys.executable, "-m", "services.product", **settings) as program:
        program.answer(f"http://127.0.0.1:{side_port}/readyz")
        yield program, port


async def ask(port: int, count: int) -> None:
    """Makes so many calls, each in a sampled trace."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = product_pb2_grpc.ProductServiceStub(channel)
        metadata = (SAMPLED, ("authorization", "Bearer testtoken"))
        for _ in range(count):
            await stub.GetProduct(product_pb2.GetProductRequest(sku=SKU), metadata=metadata)


class Zipkin(BaseHTTPRequestHandler):
    """A collector of Zipkin."""

    received: ClassVar[list[dict[str, Any]]]

    def do_POST(self) -> None:
        self.received.extend(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_left_is_sent_to_zipkin_when_the_process_stops(tmp_path: Path) -> None:
    class Handler(Zipkin):
        received: ClassVar[list[dict[str, Any]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}/api/v2/spans"
        variables = {"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT": endpoint}
        with product_of(tmp_path / "log", **variables) as (program, port):
            asyncio.run(ask(port, 3))
            program.process.send_signal(signal.SIGTERM)
            assert program.exit_code(10) == 0
        server.shutdown()

    assert [span["name"] for span in Handler.received] == ["ProductService/GetProduct"] * 3
    assert {span["localEndpoint"]["serviceName"] for span in Handler.received} == {"product"}
    assert {int(span["traceId"], 16) for span in Handler.received} == {TRACE}
    assert [span for span in Handler.received if None in span["tags"].values()] == []  # Zipkin refuses such a span


class Otlp(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector of OTLP."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    def Export(self, request: Any, context: object) -> Any:
        self.received.extend(request.resource_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


def test_what_is_left_is_sent_by_otlp_when_the_process_stops(tmp_path: Path) -> None:
    collector, server = Otlp(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    variables = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "mine"}
    with product_of(tmp_path / "log", **variables) as (program, port):
        asyncio.run(ask(port, 3))
        program.process.send_signal(signal.SIGTERM)
        assert program.exit_code(10) == 0
    server.stop(None).wait()

    spans = [span for each in collector.received for scope in each.scope_spans for span in scope.spans]
    [name] = {
        pair.value.string_value
        for each in collector.received
        for pair in each.resource.attributes
        if pair.key == "service.name"
    }
    assert name == "mine"
    assert [span.name for span in spans] == ["ProductService/GetProduct"] * 3


@contextmanager
def silent_collector() -> Iterator[int]:
    """The port of somebody who takes connections and never answers."""
    with create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def no_collector() -> Iterator[int]:
    yield free_ports(1)[0]


@pytest.mark.parametrize("exporter", ["otlp", "zipkin"])
@pytest.mark.parametrize("collector", [silent_collector, no_collector])
def test_a_collector_that_does_not_answer_slows_no_call_and_the_stop_by_a_second_at_most(
    exporter: str, collector: Any, tmp_path: Path
) -> None:
    with collector() as collecting:
        variables = {
            "OTEL_TRACES_EXPORTER": exporter,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collecting}",
            "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"http://127.0.0.1:{collecting}/api/v2/spans",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        with product_of(tmp_path / "log", **variables) as (program, port):
            for _ in range(5):
                began = time.monotonic()
                asyncio.run(ask(port, 20))
                assert time.monotonic() - began < 5
            began = time.monotonic()
            program.process.send_signal(signal.SIGTERM)
            assert program.exit_code(10) == 0
            assert time.monotonic() - began < STOP_SECONDS + SLACK_SECONDS

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len([line for line in lines if line["level"] != "info"]) <= 1
    assert {line["event"] for line in lines if line["level"] != "info"} <= {"spans are lost"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "smoke"}, "OTEL_TRACES_EXPORTER='smoke': it must be otlp, zipkin or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "dice"}, "OTEL_TRACES_SAMPLER='dice'"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
            "OTEL_TRACES_SAMPLER_ARG='2': it must be between 0 and 1",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "there"}, "OTEL_EXPORTER_ZIPKIN_ENDPOINT"),
    ],
)
def test_a_variable_that_is_of_no_use_is_named(
    variables: Mapping[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(StartError, match=f"^{re.escape(told)}"):
        tracers.tracer_of("tested")


def test_the_variable_that_turns_opentelemetry_off_turns_spans_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")

    assert tracers.tracer_of("tested") is None


def test_a_variable_that_is_of_no_use_stops_the_start(tmp_path: Path) -> None:
    port, side_port = free_ports(2)
    settings = {"PRODUCT_LISTEN": f"127.0.0.1:{port}", "PRODUCT_SIDE_LISTEN": f"127.0.0.1:{side_port}"}
    command = (sys.executable, "-m", "services.product")
    with started(tmp_path / "log", *command, **settings, OTEL_TRACES_EXPORTER="smoke") as program:
        assert program.exit_code(10) == 2
    assert "cannot start: OTEL_TRACES_EXPORTER='smoke'" in (tmp_path / "log").read_text()
