"""What somebody has to look at."""

from codegen.dashboards import metrics, rules
from codegen.dashboards.promql import by
from codegen.dashboards.rules import Alert

ALERTS = (
    Alert(
        name="ProcessDown",
        value="up",
        condition="== 0",
        lasting="1m",
        severity="critical",
        summary="{{ $labels.job }} does not answer",
        description="{{ $labels.instance }} of {{ $labels.job }} has answered no scrape for a minute.",
        runbook="See whether the process lives and what its last log lines say; "
        "if it lives, ask its side port for /healthz and /debug/tasks.",
    ),
    Alert(
        name="RpcFaults",
        value=rules.SERVER_FAULTS.record,
        condition="> 0.05",
        lasting="5m",
        severity="critical",
        summary="{{ $labels.rpc_service }}/{{ $labels.rpc_method }} fails",
        description="{{ $value | humanizePercentage }} of its calls end with a fault of the server.",
        runbook="See in the dashboard Services which codes they are: UNAVAILABLE and DEADLINE_EXCEEDED lead to what "
        "it calls (Services, PostgreSQL), INTERNAL to its log lines of level error.",
    ),
    Alert(
        name="RpcSlow",
        value=rules.SERVER_P99.record,
        condition="> 1",
        lasting="10m",
        severity="warning",
        summary="{{ $labels.rpc_service }}/{{ $labels.rpc_method }} is slow",
        description="One of a hundred calls takes longer than {{ $value | humanizeDuration }}.",
        runbook="Compare with its queries (PostgreSQL), its calls (Services) and its event loop (Runtime); "
        "then look at a slow trace in Zipkin.",
    ),
    Alert(
        name="GatewayFaults",
        value=rules.HTTP_FAULTS.record,
        condition="> 0.05",
        lasting="5m",
        severity="critical",
        summary="{{ $labels.http_request_method }} {{ $labels.http_route }} fails",
        description="{{ $value | humanizePercentage }} of its answers have a status of 500 or above.",
        runbook="See in the dashboard Gateway which service answers what; "
        "/healthz of the gateway says which of them it cannot reach.",
    ),
    Alert(
        name="EventLoopLags",
        value=rules.LOOP_LAG_P99.record,
        condition="> 0.1",
        lasting="5m",
        severity="warning",
        summary="the event loop of {{ $labels.job }} is late",
        description="In {{ $labels.instance }} one of a hundred tasks starts {{ $value | humanizeDuration }} too late.",
        runbook="Ask its side port for /debug/profile: something computes or blocks in the loop, "
        "or the process has no CPU left (Runtime).",
    ),
    Alert(
        name="PoolExhausted",
        value=rules.POOL_USE.record,
        condition=">= 1",
        lasting="1m",
        severity="critical",
        summary="{{ $labels.job }} has no connection to its {{ $labels.pool }} left",
        description="All connections of {{ $labels.instance }} have been in use for a minute; calls wait for one.",
        runbook="See in the dashboard PostgreSQL which query takes long or waits for a lock; "
        "if none does, DATABASE_CONNECTIONS is too small.",
    ),
    Alert(
        name="QueriesFail",
        value=rules.QUERY_ERRORS.record,
        condition="> 0.05",
        lasting="5m",
        severity="critical",
        summary="the query {{ $labels.query }} fails",
        description="{{ $value | humanizePercentage }} of its executions end with an error.",
        runbook="See the log lines of the service of that query, and whether PostgreSQL takes connections.",
    ),
    Alert(
        name="RedisFails",
        value=rules.REDIS_ERRORS.record,
        condition="> 0.5",
        lasting="2m",
        severity="warning",
        summary="shard {{ $labels.shard }} of Redis is down",
        description="{{ $value | humanizePercentage }} of the commands fail; "
        "what it kept is asked of the catalogue each time.",
        runbook="See whether the server at this place of CART_REDIS_URLS (the first is 0) runs, and has memory left.",
    ),
    Alert(
        name="OutboxStuck",
        value=by("job", metrics.OUTBOX_OLDEST, "max"),
        condition="> 60",
        lasting="1m",
        severity="critical",
        summary="events of orders are not sent",
        description="The oldest event in the outbox of {{ $labels.job }} waits for {{ $value | humanizeDuration }}.",
        runbook="See whether the brokers take messages (Events) and what the relay logs; "
        "nothing is lost, it is sent when they do.",
    ),
    Alert(
        name="PublishFails",
        value=rules.PUBLISH_ERRORS.record,
        condition="> 0.05",
        lasting="5m",
        severity="warning",
        summary="{{ $labels.topic }} does not take messages",
        description="{{ $value | humanizePercentage }} of the attempts to publish fail.",
        runbook="See whether enough brokers are in sync for the topic, and the error in the log of LOMS.",
    ),
    Alert(
        name="ConsumerLags",
        value=rules.CONSUMER_LAG.record,
        condition=f"> 100 and {rules.CONSUMER_LAG_GROWTH.record} > 0",
        lasting="5m",
        severity="warning",
        summary="{{ $labels.topic }} is handled more slowly than it grows",
        description="{{ $value }} messages wait, and they become more.",
        runbook="See in the dashboard Events whether batches fail or take long, and whether each replica runs.",
    ),
    Alert(
        name="DeadLetters",
        value=by("job", f"increase({metrics.DEAD_LETTERS}[15m])"),
        condition="> 0",
        lasting="0m",
        severity="critical",
        summary="events cannot be handled",
        description="{{ $labels.job }} has parked events within 15 minutes; later ones of their orders wait.",
        runbook="`python -m services.notifier dead-letters list` says why; "
        "when that is mended, `python -m services.notifier dead-letters replay` delivers them.",
    ),
    Alert(
        name="CircuitOpen",
        value=by("job, rpc_service", metrics.RPC_CLIENT_CIRCUIT_OPEN, "max"),
        condition="> 0",
        lasting="1m",
        severity="critical",
        summary="{{ $labels.job }} has given up {{ $labels.rpc_service }}",
        description="No call from {{ $labels.job }} reaches {{ $labels.rpc_service }}, so none is made.",
        runbook="See whether that service runs, and at the address that its caller has for it.",
    ),
    Alert(
        name="RateLimiterWaits",
        value=rules.LIMITER_P95.record,
        condition="> 1",
        lasting="5m",
        severity="warning",
        summary="calls of {{ $labels.rpc_service }}/{{ $labels.rpc_method }} wait for their turn",
        description="One of twenty calls waits for longer than {{ $value | humanizeDuration }}.",
        runbook="See in the dashboard Cache and limits whether the cache is hit; "
        "if it is, the rate in the contract is too low for the load.",
    ),
    Alert(
        name="CacheMisses",
        value=rules.CACHE_HITS.record,
        condition=f"< 0.5 and {rules.CACHE_REQUESTS.record} > 1",
        lasting="15m",
        severity="warning",
        summary="the cache of {{ $labels.rpc_service }}/{{ $labels.rpc_method }} is of little use",
        description="Only {{ $value | humanizePercentage }} of what is asked of it is there.",
        runbook="See in the dashboard Cache and limits whether a shard of Redis fails or evicts, "
        "and whether callers bring tokens of their own.",
    ),
)
