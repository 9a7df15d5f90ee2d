"""What telemetry costs: CPU of LOMS per call of StocksInfo with metrics and traces, against LOMS without both.

Of the calls one in a hundred is in a sampled trace, as the gateway would decide it; a third
kind of round has all of them in one, and tells what a sampled call costs more. Spans go to a
collector that throws them away. Log lines are written in all rounds, which take turns.

    python -m bench.telemetry [--rounds 7] [--calls 20000]
"""

import argparse
import asyncio
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import prometheus_client
import uvloop
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from bench.chassis import CONCURRENCY, FREE, REQUEST, Server, serve_until
from services.chassis import metrics
from services.chassis.lifecycle import let_threads_finish, stop_on_signal
from services.chassis.log import configure_logging
from services.chassis.tracers import close_tracers
from services.loms.__main__ import LomsSettings, loms

SAMPLED_OF = 100
"""One call of so many is in a sampled trace."""
KINDS = {"off": ("off", SAMPLED_OF), "on": ("on", SAMPLED_OF), "sampled": ("on", 1)}
"""Of each kind of round: which server it asks, and one call of how many is sampled."""


class NoMetric:
    """In place of a metric."""

    def labels(self, *_values: str) -> "NoMetric":
        return self

    def nothing(self, *_values: object, **_more: object) -> None:
        pass


def without_metrics() -> None:
    """Has nothing counted and nothing measured in this process."""
    for each in (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram):
        each.labels = NoMetric.labels  # type: ignore[method-assign,assignment]
        each.inc = each.dec = each.observe = NoMetric.nothing  # type: ignore[union-attr,method-assign]
    metrics.Durations.observe = NoMetric.nothing  # type: ignore[method-assign,assignment]
    metrics.LAG_INTERVAL_SECONDS = 3600.0


async def serve(kind: str) -> None:
    """LOMS as `python -m services.loms` runs it, with or without telemetry."""
    let_threads_finish()
    stop = stop_on_signal()
    if kind == "off":
        without_metrics()
    settings = LomsSettings(listen=FREE, side_listen=FREE)
    configure_logging(settings.log_level, settings.log_format)
    async with loms(settings) as port:
        await serve_until(stop, port)
    close_tracers()


def started(kind: str, collector: int) -> Server:
    """LOMS of this kind, which sends its spans to the collector."""
    exporter, endpoint = "otlp" if kind == "on" else "none", f"http://127.0.0.1:{collector}"
    return Server(kind, "bench.telemetry", OTEL_TRACES_EXPORTER=exporter, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts spans and throws them away."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.spans += sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def load(port: int, calls: int, sampled_of: int) -> None:
    numbers = count(1)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.LomsServiceStub(channel)

        async def worker() -> None:
            for _ in range(calls // CONCURRENCY):
                number = next(numbers)
                flags = "01" if number % sampled_of == 0 else "00"
                metadata = (("traceparent", f"00-{number:032x}-{number:016x}-{flags}"),)
                answer: pb.StocksInfoResponse = await stub.StocksInfo(REQUEST, timeout=5, metadata=metadata)
                assert answer.count

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def measure(rounds: int, calls: int) -> None:
    collector, collecting = Collector(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, collecting)  # type: ignore[no-untyped-call]
    collecting_port = collecting.add_insecure_port(FREE)
    collecting.start()
    servers = {kind: started(kind, collecting_port) for kind in ("off", "on")}
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    try:
        for number in range(rounds + 1):
            for kind, (asked, sampled_of) in KINDS.items():
                cost = cost_of(servers[asked], calls, sampled_of)
                if number > 0:  # the first round warms up
                    costs[kind].append(cost)
            print(f"round {number} of {rounds} done", file=sys.stderr)
    finally:
        for server in servers.values():
            server.close()
        collecting.stop(None).wait()
    print(f"StocksInfo, {rounds} rounds of {calls} calls, {CONCURRENCY} at once; CPU of the server, user + system")
    for kind, values in costs.items():
        print(f"  {kind:8} {statistics.median(values):6.1f} µs a call  ({min(values):.1f} to {max(values):.1f})")
    ratios = [on / off for off, on in zip(costs["off"], costs["on"], strict=True)]
    more = [sampled - on for on, sampled in zip(costs["on"], costs["sampled"], strict=True)]
    print(f"  on/off   {statistics.median(ratios):6.2f}             ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"  a sampled call costs {statistics.median(more):.0f} µs more  ({min(more):.0f} to {max(more):.0f})")
    print(f"  {collector.spans} spans came to the collector")


def cost_of(server: Server, calls: int, sampled_of: int) -> float:
    """Microseconds of CPU a call."""
    before = server.cpu_seconds()
    uvloop.run(load(server.port, calls, sampled_of))
    return (server.cpu_seconds() - before) / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--serve", choices=("off", "on"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve))
    else:
        measure(arguments.rounds, arguments.calls)


if __name__ == "__main__":
    main()
