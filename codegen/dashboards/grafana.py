"""Dashboards as Grafana reads them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
"""As compose/grafana/provisioning/datasources names it."""
TAG = "marketplace"
SCHEMA_VERSION = 39
WIDTH, HEIGHT, IN_A_ROW = 8, 8, 3


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are called: `{{label}}` is the value of a label."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """Lines over time. The unit is one of Grafana's."""

    title: str
    unit: str
    queries: Sequence[Query]


@dataclass(frozen=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A label whose values the user chooses, as $name, from those that a metric has."""

    name: str
    metric: str


@dataclass(frozen=True)
class Dashboard:
    """A page. The uid is in its address and the name of its file."""

    uid: str
    title: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def text(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(model(dashboard), indent=2, ensure_ascii=False) + "\n"


def model(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "Marketplace", "tags": [TAG], "asDropdown": True, "keepTime": True}],
        "templating": {"list": [variable_model(variable) for variable in dashboard.variables]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(placed(dashboard.rows), start=1)],
    }


def variable_model(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": f"label_values({variable.metric}, {variable.name})",
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Each row with its title above it, three panels beside each other."""
    y = 0
    for row in rows:
        yield {"type": "row", "title": row.title, "gridPos": {"x": 0, "y": y, "w": IN_A_ROW * WIDTH, "h": 1}}
        for place, panel in enumerate(row.panels):
            line, column = divmod(place, IN_A_ROW)
            at = {"x": column * WIDTH, "y": y + 1 + line * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield panel_model(panel) | {"gridPos": at}
        y += 1 + -(-len(row.panels) // IN_A_ROW) * HEIGHT


def panel_model(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
