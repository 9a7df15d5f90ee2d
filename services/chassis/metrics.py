"""What a process tells of itself in numbers, to Prometheus.

One process is one scrape target: all services in it share one registry, and each side port
shows the whole of it. No label has values that a caller can choose. Times are in seconds.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from types import TracebackType
from typing import TypeAlias

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.chassis.traces import Span

__all__ = ["CONTENT_TYPE_LATEST", "Counter"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # it says nothing of its types

Values: TypeAlias = Mapping[tuple[str, ...], float]
"""Values by their labels."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FINE_BUCKETS = (0.0005, *BUCKETS)
RPC = ("rpc_service", "rpc_method")
OK, ERROR = "ok", "error"
LAG_INTERVAL_SECONDS = 0.2


class Readings(Collector):
    """A gauge that is read when somebody scrapes it: the sum of what its sources say."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._sources: list[Callable[[], Values]] = []
        REGISTRY.register(self)

    @contextmanager
    def source(self, read: Callable[[], Values]) -> Iterator[None]:
        """Asks `read`, too, while the block runs."""
        self._sources.append(read)
        try:
            yield
        finally:
            self._sources.remove(read)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for read in self._sources:
            for labels, value in read().items():
                sums[labels] += value
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, total in sums.items():
            family.add_metric(labels, total)
        return [family]

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]


class Counts:
    """A counter by its last label, whose values are few and known. `labels` are those before it."""

    def __init__(self, counter: Counter, *labels: str) -> None:
        self._counter, self._labels = counter, labels
        self._by_value: dict[str, Counter] = {}

    def add(self, value: str, count: int = 1) -> None:
        child = self._by_value.get(value)
        if child is None:
            child = self._by_value[value] = self._counter.labels(*self._labels, value)
        child.inc(count)


def counter(name: str, documentation: str, label: str) -> Counts:
    """A counter of a service of its own, by one label."""
    return Counts(Counter(name, documentation, (label,)))


class Durations:
    """How long one kind of work takes, by how it ends. `labels` are those of the histogram but the last one.

    To look for a histogram among its siblings costs more than to count in it, so each is looked for once.
    """

    def __init__(self, histogram: Histogram, *labels: str) -> None:
        self._histogram, self._labels = histogram, labels
        self._by_outcome: dict[str, Histogram] = {}

    def observe(self, outcome: str, seconds: float) -> None:
        child = self._by_outcome.get(outcome)
        if child is None:
            child = self._by_outcome[outcome] = self._histogram.labels(*self._labels, outcome)
        child.observe(seconds)


class Timed:
    """Observes how long the block takes, as `ok`, or as `error` if it raises, and ends its span."""

    __slots__ = ("_began", "_durations", "_span")

    def __init__(self, durations: Durations, span: Span | None = None) -> None:
        self._durations = durations
        self._span = span

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, raised: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._durations.observe(OK if raised is None else ERROR, time.perf_counter() - self._began)
        if self._span is not None:
            self._span.end(failed=raised is not None)


def exposition() -> bytes:
    """All metrics of this process, as Prometheus reads them."""
    return generate_latest(REGISTRY)


class _LoopWatch:
    """Measures how late the event loop is, in one task for all services of a process."""

    def __init__(self) -> None:
        self._users = 0
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._users += 1
        if self._task is None:
            self._task = asyncio.create_task(_watch_loop(), context=Context())

    async def end(self) -> None:
        self._users -= 1
        if self._users == 0 and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])


async def _watch_loop() -> None:
    loop = asyncio.get_running_loop()
    with ASYNCIO_TASKS.source(lambda: {(): len(asyncio.all_tasks(loop))}):
        while True:
            due = time.perf_counter() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            EVENT_LOOP_LAG.observe(max(0.0, time.perf_counter() - due))


_loop_watch = _LoopWatch()


@asynccontextmanager
async def loop_watched() -> AsyncIterator[None]:
    """Measures the event loop while the block runs. Blocks that run at once share one task."""
    await _loop_watch.begin()
    try:
        yield
    finally:
        await _loop_watch.end()


RPC_SERVER_DURATION = Histogram(
    "rpc_server_duration_seconds", "How long calls took.", (*RPC, "rpc_code"), buckets=BUCKETS
)
RPC_SERVER_ACTIVE = Gauge("rpc_server_active_calls", "Calls that run.", RPC)
RPC_CLIENT_DURATION = Histogram(
    "rpc_client_duration_seconds", "How long attempts of calls took.", (*RPC, "rpc_code"), buckets=BUCKETS
)
RPC_CLIENT_RETRIES = Counter("rpc_client_retries", "Attempts after the first one of a call.", RPC)
RPC_CLIENT_CIRCUIT_OPEN = Readings(
    "rpc_client_circuit_open", "1 while calls are not made, because none reached the service.", ("rpc_service",)
)
RATE_LIMITER_WAIT = Histogram(
    "rate_limiter_wait_seconds", "How long calls waited for their turn.", RPC, buckets=BUCKETS
)
DB_CLIENT_DURATION = Histogram(
    "db_client_duration_seconds", "How long queries took.", ("query", "category", "outcome"), buckets=FINE_BUCKETS
)
DB_CLIENT_CONNECTIONS = Readings("db_client_connections", "Connections to the database.", ("pool", "state"))
DB_CLIENT_CONNECTIONS_MAX = Readings(
    "db_client_connections_max", "How many connections to the database there may be.", ("pool",)
)
REDIS_CLIENT_DURATION = Histogram(
    "redis_client_duration_seconds", "How long commands took.", ("shard", "command", "outcome"), buckets=FINE_BUCKETS
)
PUBLISH_DURATION = Histogram(
    "messaging_publish_duration_seconds", "How long it took to publish messages.", ("topic", "outcome"), buckets=BUCKETS
)
PUBLISHED_MESSAGES = Counter("messaging_published_messages", "Messages that were published.", ("topic", "outcome"))
PROCESS_DURATION = Histogram(
    "messaging_process_duration_seconds", "How long it took to handle a batch.", ("topic", "outcome"), buckets=BUCKETS
)
PROCESSED_MESSAGES = Counter("messaging_processed_messages", "Messages that were handled.", ("topic", "outcome"))
CONSUMER_LAG = Readings(
    "messaging_consumer_lag", "Messages that are there and not yet handled.", ("topic", "partition")
)
OUTBOX_EVENTS = Readings("outbox_events", "Events that are stored and not known to be sent, where the relay leads.")
OUTBOX_OLDEST = Readings("outbox_oldest_seconds", "How old the oldest of them is.")
CACHE_REQUESTS = Counter("cache_requests", "What the cache was asked for.", (*RPC, "result"))
CACHE_ERRORS = Counter("cache_errors", "Entries that could not be read, written or refreshed.")
EVENT_LOOP_LAG = Histogram("event_loop_lag_seconds", "How much later than it was due a task ran.", buckets=FINE_BUCKETS)
ASYNCIO_TASKS = Readings("asyncio_tasks", "Tasks of the event loop.")
