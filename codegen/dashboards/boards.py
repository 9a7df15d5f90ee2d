"""The dashboards."""

from codegen.dashboards import metrics
from codegen.dashboards.grafana import Dashboard, Panel, Query, Row, Variable
from codegen.dashboards.promql import FAULT_CODES, by, calls, or_zero, quantile, rate, ratio, series

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
METHOD, METHOD_NAME = "rpc_service, rpc_method", "{{rpc_service}}/{{rpc_method}}"
ROUTE, ROUTE_NAME = "http_request_method, http_route", "{{http_request_method}} {{http_route}}"
PROCESS, PROCESS_NAME = "job, instance", "{{job}} {{instance}}"
REQUESTS, CALLS, EVENTS = "reqps", "ops", "cps"
SECONDS, BYTES, SHARE, NUMBER = "s", "bytes", "percentunit", "short"


def panel(title: str, unit: str, expression: str, legend: str) -> Panel:
    return Panel(title, unit, (Query(expression, legend),))


def latency(title: str, histogram: str, labels: str, legend: str, **where: str) -> tuple[Panel, ...]:
    """A panel for each of the usual quantiles."""
    return tuple(
        panel(f"{title}, {name}", SECONDS, quantile(part, histogram, labels, **where), legend)
        for name, part in QUANTILES.items()
    )


def latency_of(title: str, histogram: str, labels: str, legend: str) -> Panel:
    """The usual quantiles in one panel."""
    queries = [Query(quantile(part, histogram, labels), f"{legend} {name}") for name, part in QUANTILES.items()]
    return Panel(title, SECONDS, queries)


CHOSEN = {"rpc_service": "$rpc_service"}
SERVER = metrics.RPC_SERVER_DURATION
CLIENT = metrics.RPC_CLIENT_DURATION
SERVICES = Dashboard(
    "services",
    "Services",
    (
        Row(
            "Traffic and errors",
            (
                panel("Calls", CALLS, calls(SERVER, METHOD, **CHOSEN), METHOD_NAME),
                panel(
                    "Answers", CALLS, calls(SERVER, "rpc_service, rpc_code", **CHOSEN), "{{rpc_service}} {{rpc_code}}"
                ),
                panel(
                    "Faults of the server",
                    SHARE,
                    ratio(
                        calls(SERVER, METHOD, rpc_code=FAULT_CODES, **CHOSEN),
                        calls(SERVER, METHOD, **CHOSEN),
                    ),
                    METHOD_NAME,
                ),
            ),
        ),
        Row("Latency", latency("Calls", SERVER, METHOD, METHOD_NAME, **CHOSEN)),
        Row(
            "Saturation",
            (
                panel(
                    "Running calls", NUMBER, by(METHOD, series(metrics.RPC_SERVER_ACTIVE_CALLS, **CHOSEN)), METHOD_NAME
                ),
                panel("Event loop lag, p99", SECONDS, quantile(0.99, metrics.EVENT_LOOP_LAG, PROCESS), PROCESS_NAME),
                panel("CPU", SHARE, rate(metrics.PROCESS_CPU, PROCESS), PROCESS_NAME),
            ),
        ),
        Row(
            "Calls to other services",
            (
                panel("Attempts, p99", SECONDS, quantile(0.99, CLIENT, METHOD, **CHOSEN), METHOD_NAME),
                panel(
                    "Retries",
                    CALLS,
                    or_zero(rate(metrics.RPC_CLIENT_RETRIES, METHOD, **CHOSEN), calls(CLIENT, METHOD, **CHOSEN)),
                    METHOD_NAME,
                ),
                panel(
                    "Open circuits",
                    NUMBER,
                    by("job, rpc_service", metrics.RPC_CLIENT_CIRCUIT_OPEN, "max"),
                    "{{job}} to {{rpc_service}}",
                ),
            ),
        ),
    ),
    (Variable("rpc_service", f"{SERVER}_count"),),
)

HTTP = metrics.HTTP_DURATION
GATEWAY = Dashboard(
    "gateway",
    "Gateway",
    (
        Row(
            "Traffic and errors",
            (
                panel("Requests", REQUESTS, calls(HTTP, ROUTE), ROUTE_NAME),
                panel("Answers", REQUESTS, calls(HTTP, "http_response_status_code"), "{{http_response_status_code}}"),
                panel(
                    "Status 500 and above",
                    SHARE,
                    ratio(calls(HTTP, ROUTE, http_response_status_code="5.."), calls(HTTP, ROUTE)),
                    ROUTE_NAME,
                ),
            ),
        ),
        Row("Latency", latency("Requests", HTTP, ROUTE, ROUTE_NAME)),
        Row(
            "Saturation",
            (
                panel("Running requests", NUMBER, by("instance", metrics.HTTP_ACTIVE_REQUESTS), "{{instance}}"),
                panel("Goroutines", NUMBER, by("instance", metrics.GOROUTINES), "{{instance}}"),
                panel("CPU", SHARE, rate(metrics.PROCESS_CPU, "instance", job="gateway"), "{{instance}}"),
            ),
        ),
        Row(
            "Calls to the services",
            (
                panel("Calls", CALLS, calls(CLIENT, METHOD, job="gateway"), METHOD_NAME),
                panel(
                    "Answers",
                    CALLS,
                    calls(CLIENT, "rpc_service, rpc_code", job="gateway"),
                    "{{rpc_service}} {{rpc_code}}",
                ),
                panel("Calls, p99", SECONDS, quantile(0.99, CLIENT, METHOD, job="gateway"), METHOD_NAME),
            ),
        ),
    ),
)

BUSINESS = Dashboard(
    "business",
    "Business",
    (
        Row(
            "Orders",
            (
                panel("Orders that got a status", EVENTS, rate(metrics.ORDERS, "status"), "{{status}}"),
                panel("Orders in a day", NUMBER, by("status", f"increase({metrics.ORDERS}[1d])"), "{{status}}"),
                panel("Notifications", EVENTS, rate(metrics.NOTIFICATIONS, "status"), "{{status}}"),
            ),
        ),
        Row("Carts", (panel("Carts in memory", NUMBER, by("kind", metrics.CART_OBJECTS), "{{kind}}"),)),
    ),
)

BY_TOPIC = "{{topic}} {{outcome}}"
EVENTS_BOARD = Dashboard(
    "events",
    "Events",
    (
        Row(
            "On their way",
            (
                panel("Events in the outbox", NUMBER, by("job", metrics.OUTBOX_EVENTS, "max"), "{{job}}"),
                panel("Age of the oldest", SECONDS, by("job", metrics.OUTBOX_OLDEST, "max"), "{{job}}"),
                panel("Consumer lag", NUMBER, by("topic", metrics.CONSUMER_LAG), "{{topic}}"),
            ),
        ),
        Row(
            "Publishing",
            (
                panel("Messages", EVENTS, rate(metrics.PUBLISHED_MESSAGES, "topic, outcome"), BY_TOPIC),
                latency_of("Duration", metrics.PUBLISH_DURATION, "topic", "{{topic}}"),
                panel(
                    "Errors",
                    SHARE,
                    ratio(
                        calls(metrics.PUBLISH_DURATION, "topic", outcome="error"),
                        calls(metrics.PUBLISH_DURATION, "topic"),
                    ),
                    "{{topic}}",
                ),
            ),
        ),
        Row(
            "Handling",
            (
                panel("Messages", EVENTS, rate(metrics.PROCESSED_MESSAGES, "topic, outcome"), BY_TOPIC),
                latency_of("Duration of a batch", metrics.PROCESS_DURATION, "topic", "{{topic}}"),
                panel("Dead letters in an hour", NUMBER, by("job", f"increase({metrics.DEAD_LETTERS}[1h])"), "{{job}}"),
            ),
        ),
    ),
)

REDIS = metrics.REDIS_CLIENT_DURATION
CACHE = Dashboard(
    "cache",
    "Cache and limits",
    (
        Row(
            "Cache",
            (
                panel(
                    "Requests",
                    CALLS,
                    rate(metrics.CACHE_REQUESTS, f"{METHOD}, result"),
                    f"{METHOD_NAME} {{{{result}}}}",
                ),
                panel(
                    "Hits",
                    SHARE,
                    ratio(
                        rate(metrics.CACHE_REQUESTS, METHOD, result="hit|stale"), rate(metrics.CACHE_REQUESTS, METHOD)
                    ),
                    METHOD_NAME,
                ),
                panel("Errors", CALLS, rate(metrics.CACHE_ERRORS, "job"), "{{job}}"),
            ),
        ),
        Row("Rate limiter", latency("Wait for a turn", metrics.RATE_LIMITER_WAIT, METHOD, METHOD_NAME)),
        Row(
            "Redis",
            (
                panel("Commands", CALLS, calls(REDIS, "shard, command"), "{{shard}} {{command}}"),
                panel("Commands, p99", SECONDS, quantile(0.99, REDIS, "shard, command"), "{{shard}} {{command}}"),
                panel(
                    "Errors", SHARE, ratio(calls(REDIS, "shard", outcome="error"), calls(REDIS, "shard")), "{{shard}}"
                ),
            ),
        ),
    ),
)

DB = metrics.DB_CLIENT_DURATION
POOL, POOL_NAME = "job, pool", "{{job}} {{pool}}"
POSTGRES = Dashboard(
    "postgres",
    "PostgreSQL",
    (
        Row(
            "Queries",
            (
                panel("Executions", CALLS, calls(DB, "query"), "{{query}}"),
                panel("Time in each query", SHARE, rate(f"{DB}_sum", "query"), "{{query}}"),
                panel("Errors", SHARE, ratio(calls(DB, "query", outcome="error"), calls(DB, "query")), "{{query}}"),
            ),
        ),
        Row("Latency", latency("Queries", DB, "query", "{{query}}")),
        Row(
            "Connections",
            (
                panel(
                    "Connections",
                    NUMBER,
                    by(f"{POOL}, state", metrics.DB_CLIENT_CONNECTIONS),
                    f"{POOL_NAME} {{{{state}}}}",
                ),
                panel(
                    "In use, of those there may be",
                    SHARE,
                    f"{by(POOL, series(metrics.DB_CLIENT_CONNECTIONS, state='used'))}"
                    f" / {by(POOL, metrics.DB_CLIENT_CONNECTIONS_MAX)}",
                    POOL_NAME,
                ),
                panel("Executions by category", CALLS, calls(DB, "category"), "{{category}}"),
            ),
        ),
    ),
)

RUNTIME = Dashboard(
    "runtime",
    "Runtime",
    (
        Row(
            "Processes",
            (
                panel("CPU", SHARE, rate(metrics.PROCESS_CPU, PROCESS), PROCESS_NAME),
                panel("Memory", BYTES, by(PROCESS, metrics.PROCESS_MEMORY), PROCESS_NAME),
                panel(
                    "Open descriptors, of those there may be",
                    SHARE,
                    f"{by(PROCESS, metrics.PROCESS_OPEN_FDS)} / {by(PROCESS, metrics.PROCESS_MAX_FDS)}",
                    PROCESS_NAME,
                ),
            ),
        ),
        Row(
            "Python",
            (
                latency_of("Event loop lag", metrics.EVENT_LOOP_LAG, PROCESS, PROCESS_NAME),
                panel("Tasks", NUMBER, by(PROCESS, metrics.ASYNCIO_TASKS), PROCESS_NAME),
                panel(
                    "Garbage collections",
                    EVENTS,
                    rate(metrics.PYTHON_GC, f"{PROCESS}, generation"),
                    f"{PROCESS_NAME} {{{{generation}}}}",
                ),
            ),
        ),
        Row(
            "Go",
            (
                panel("Goroutines", NUMBER, by(PROCESS, metrics.GOROUTINES), PROCESS_NAME),
                panel("Heap", BYTES, by(PROCESS, metrics.GO_HEAP), PROCESS_NAME),
            ),
        ),
    ),
)

BOARDS = (SERVICES, GATEWAY, BUSINESS, EVENTS_BOARD, CACHE, POSTGRES, RUNTIME)
