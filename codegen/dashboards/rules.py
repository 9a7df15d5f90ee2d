"""What Prometheus records, and the files of its rules."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from codegen.dashboards import metrics
from codegen.dashboards.promql import FAULT_CODES, by, calls, quantile, rate, ratio, series

WINDOW = "5m"
METHOD = "rpc_service, rpc_method"
ROUTE = "http_request_method, http_route"
PROCESS = "job, instance"


@dataclass(frozen=True)
class Recording:
    """An expression that is evaluated again and again and kept under a name: `by what:of what:how`."""

    record: str
    expression: str


@dataclass(frozen=True)
class Alert:
    """Fires when what its value says has met the condition for so long. The runbook says what to look at first."""

    name: str
    value: str
    condition: str
    lasting: str
    severity: Literal["critical", "warning"]
    summary: str
    description: str
    runbook: str


SERVER_FAULTS = Recording(
    "rpc_method:rpc_server_faults:ratio5m",
    ratio(
        calls(metrics.RPC_SERVER_DURATION, METHOD, WINDOW, rpc_code=FAULT_CODES),
        calls(metrics.RPC_SERVER_DURATION, METHOD, WINDOW),
    ),
)
SERVER_P99 = Recording(
    "rpc_method:rpc_server_duration_seconds:p99_5m", quantile(0.99, metrics.RPC_SERVER_DURATION, METHOD, WINDOW)
)
HTTP_FAULTS = Recording(
    "http_route:http_server_faults:ratio5m",
    ratio(
        calls(metrics.HTTP_DURATION, ROUTE, WINDOW, http_response_status_code="5.."),
        calls(metrics.HTTP_DURATION, ROUTE, WINDOW),
    ),
)
LOOP_LAG_P99 = Recording(
    "instance:event_loop_lag_seconds:p99_5m", quantile(0.99, metrics.EVENT_LOOP_LAG, PROCESS, WINDOW)
)
POOL_USE = Recording(
    "pool:db_client_connections:ratio",
    f"{by(f'{PROCESS}, pool', series(metrics.DB_CLIENT_CONNECTIONS, state='used'))}"
    f" / {by(f'{PROCESS}, pool', metrics.DB_CLIENT_CONNECTIONS_MAX)}",
)
QUERY_ERRORS = Recording(
    "query:db_client_errors:ratio5m",
    ratio(
        calls(metrics.DB_CLIENT_DURATION, "query", WINDOW, outcome="error"),
        calls(metrics.DB_CLIENT_DURATION, "query", WINDOW),
    ),
)
REDIS_ERRORS = Recording(
    "shard:redis_client_errors:ratio5m",
    ratio(
        calls(metrics.REDIS_CLIENT_DURATION, "shard", WINDOW, outcome="error"),
        calls(metrics.REDIS_CLIENT_DURATION, "shard", WINDOW),
    ),
)
PUBLISH_ERRORS = Recording(
    "topic:messaging_publish_errors:ratio5m",
    ratio(
        calls(metrics.PUBLISH_DURATION, "topic", WINDOW, outcome="error"),
        calls(metrics.PUBLISH_DURATION, "topic", WINDOW),
    ),
)
CONSUMER_LAG = Recording("topic:messaging_consumer_lag:sum", by("topic", metrics.CONSUMER_LAG))
CONSUMER_LAG_GROWTH = Recording(
    "topic:messaging_consumer_lag:deriv5m", by("topic", f"deriv({metrics.CONSUMER_LAG}[{WINDOW}])")
)
LIMITER_P95 = Recording(
    "rpc_method:rate_limiter_wait_seconds:p95_5m", quantile(0.95, metrics.RATE_LIMITER_WAIT, METHOD, WINDOW)
)
CACHE_REQUESTS = Recording("rpc_method:cache_requests:rate5m", rate(metrics.CACHE_REQUESTS, METHOD, WINDOW))
CACHE_HITS = Recording(
    "rpc_method:cache_hits:ratio5m",
    ratio(
        rate(metrics.CACHE_REQUESTS, METHOD, WINDOW, result="hit|stale"), rate(metrics.CACHE_REQUESTS, METHOD, WINDOW)
    ),
)

RECORDINGS = (
    SERVER_FAULTS,
    SERVER_P99,
    HTTP_FAULTS,
    LOOP_LAG_P99,
    POOL_USE,
    QUERY_ERRORS,
    REDIS_ERRORS,
    PUBLISH_ERRORS,
    CONSUMER_LAG,
    CONSUMER_LAG_GROWTH,
    LIMITER_P95,
    CACHE_REQUESTS,
    CACHE_HITS,
)


def recordings_file(recordings: Sequence[Recording]) -> str:
    """The file of the rules that record."""
    rules = [f"- record: {quoted(each.record)}\n  expr: {quoted(each.expression)}\n" for each in recordings]
    return rules_file("recordings", rules)


def alerts_file(alerts: Sequence[Alert]) -> str:
    """The file of the rules that alarm."""
    return rules_file("alerts", [alert_rule(alert) for alert in alerts])


def alert_rule(alert: Alert) -> str:
    return f"""- alert: {alert.name}
  expr: {quoted(f"{alert.value} {alert.condition}")}
  for: {alert.lasting}
  labels:
    severity: {alert.severity}
  annotations:
    summary: {quoted(alert.summary)}
    description: {quoted(alert.description)}
    runbook: {quoted(alert.runbook)}
"""


def rules_file(group: str, rules: Sequence[str]) -> str:
    lines = [f"      {line}\n" for rule in rules for line in rule.splitlines()]
    return f"# Made by codegen.dashboards. Do not edit.\ngroups:\n  - name: {group}\n    rules:\n{''.join(lines)}"


def quoted(text: str) -> str:
    """The text in YAML, which takes the strings of JSON."""
    return json.dumps(text, ensure_ascii=False)
