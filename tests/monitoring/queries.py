"""What dashboards and alerts ask, and what of it has no answer."""

import asyncio
import re
from itertools import count

import httpx

from codegen.dashboards.alerts import ALERTS
from codegen.dashboards.boards import BOARDS
from codegen.dashboards.grafana import Query
from codegen.dashboards.rules import RECORDINGS
from tests.marketplace import Program
from tests.monitoring.stack import purchase, side_port
from tests.prometheus import PrometheusServer

CHOSEN = {"$__rate_interval": "1m", "$rpc_service": ".+"}
"""What Grafana would fill in."""
LABEL = re.compile(r"{{(\w+)}}|\$labels\.(\w+)")
SECONDS = 60


def queries() -> dict[str, Query]:
    """All that is asked, by where it is; the text that goes with it names labels."""
    asked = {
        f"{board.title}, {panel.title}, {query.legend}": query
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
    }
    texts = {alert.name: f"{alert.summary} {alert.description}" for alert in ALERTS}
    return (
        asked
        | {rule.record: Query(rule.record, "") for rule in RECORDINGS}
        | {alert.name: Query(alert.value, texts[alert.name]) for alert in ALERTS}
    )


def has_data(prometheus: PrometheusServer, query: Query) -> bool:
    """Whether there is a number, with all the labels that the text names."""
    expression = query.expression
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    wanted = {first or second for first, second in LABEL.findall(query.legend)}
    return any(wanted <= {label for label in labels if labels[label]} for labels, _ in prometheus.values(expression))


async def all_are_scraped(prometheus: PrometheusServer, jobs: set[str]) -> bool:
    """Whether it knows what there was before anything is sold."""
    return prometheus.jobs() == dict.fromkeys(jobs, "up")


async def without_data(prometheus: PrometheusServer, url: str) -> list[str]:
    """Which queries have no data, however long the marketplace sells."""
    left = queries()
    users = count(1)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        end = asyncio.get_running_loop().time() + SECONDS
        while left and asyncio.get_running_loop().time() < end:
            await purchase(http, next(users))
            left = {name: query for name, query in left.items() if not has_data(prometheus, query)}
    return sorted(left)


def shown_by(name: str, program: Program) -> set[str]:
    """The names of the metrics that a part of the marketplace shows."""
    page = httpx.get(f"http://127.0.0.1:{side_port(name, program)}/metrics", trust_env=False)
    return set(re.findall(r"^# TYPE (\w+) ", page.text, re.MULTILINE))
