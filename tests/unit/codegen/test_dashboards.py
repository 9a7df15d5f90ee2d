"""Dashboards and rules: what is committed is what the code makes, and it fits together."""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from codegen.dashboards import metrics
from codegen.dashboards.__main__ import COMPOSE, files, write
from codegen.dashboards.alerts import ALERTS
from codegen.dashboards.boards import BOARDS
from codegen.dashboards.grafana import DATASOURCE, Dashboard, Panel, Query, Row, model, placed
from codegen.dashboards.promql import or_zero, quantile, rate, ratio, series
from codegen.dashboards.rules import RECORDINGS

PROVISIONING = COMPOSE / "grafana" / "provisioning"


def written(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_committed_is_what_is_made() -> None:
    made = files()
    committed = {path: (COMPOSE / path).read_text() for path in made if (COMPOSE / path).exists()}

    assert committed == made


def test_what_is_made_no_more_is_removed(tmp_path: Path) -> None:
    old = tmp_path / "grafana/dashboards/old.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    write(tmp_path)

    assert written(tmp_path) == files()


def test_expressions_are_put_together() -> None:
    assert series("calls_total", code="OK|NOT_FOUND", job="a") == "calls_total{code=~'OK|NOT_FOUND', job=~'a'}"
    assert rate("calls_total", "code", "5m") == "sum by (code) (rate(calls_total[5m]))"
    assert (
        quantile(0.99, "call_seconds", "job", "5m", job="a")
        == "histogram_quantile(0.99, sum by (le, job) (rate(call_seconds_bucket{job=~'a'}[5m])))"
    )
    assert or_zero("a", "b") == "a or 0 * b"
    assert ratio("a", "b") == "(a or 0 * b) / b"


def test_panels_are_placed_three_beside_each_other_below_the_title_of_their_row() -> None:
    panels = [Panel(str(number), "s", [Query("up", "")]) for number in range(4)]
    places = [
        tuple(each["gridPos"][key] for key in "xywh") for each in placed([Row("one", panels), Row("two", panels[:1])])
    ]

    assert places == [
        *((0, 0, 24, 1), (0, 1, 8, 8), (8, 1, 8, 8), (16, 1, 8, 8), (0, 9, 8, 8)),
        *((0, 17, 24, 1), (0, 18, 8, 8)),
    ]


def overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(
        one[place] < other[place] + other[size] and other[place] < one[place] + one[size]
        for place, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_of_a_dashboard_hides_another(board: Dashboard) -> None:
    panels: list[dict[str, Any]] = model(board)["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [
        (one["title"], other["title"])
        for one, other in combinations(panels, 2)
        if overlap(one["gridPos"], other["gridPos"])
    ] == []


def test_dashboards_are_told_apart() -> None:
    assert len({board.uid for board in BOARDS}) == len({board.title for board in BOARDS}) == len(BOARDS)


def test_every_metric_that_has_a_name_is_shown() -> None:
    names = {value for value in vars(metrics).values() if isinstance(value, str) and re.fullmatch(r"[a-z_]+", value)}
    asked = " ".join(query.expression for board in BOARDS for panel in board.panels for query in panel.queries)

    assert {name for name in names if name not in asked} == set()
    assert names == {name for shown in metrics.OF_A_SERVICE.values() for name in shown}


def test_every_variable_that_an_expression_asks_for_is_there() -> None:
    for board in BOARDS:
        known = {"__rate_interval", *(variable.name for variable in board.variables)}
        asked = {
            name
            for panel in board.panels
            for query in panel.queries
            for name in re.findall(r"\$(\w+)", query.expression)
        }
        assert asked <= known, board.title


def test_datasources_and_folder_are_those_that_grafana_is_given() -> None:
    datasources = (PROVISIONING / "datasources" / "marketplace.yml").read_text()
    scraped = re.search(r"scrape_interval: (\w+)", (COMPOSE / "prometheus" / "prometheus.yml").read_text())

    assert f"uid: {DATASOURCE['uid']}\n    type: {DATASOURCE['type']}\n" in datasources
    assert scraped
    assert f"timeInterval: {scraped[1]} " in datasources


def test_rules_and_alerts_are_told_apart() -> None:
    assert len({rule.record for rule in RECORDINGS}) == len(RECORDINGS)
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_every_rule_that_is_recorded_is_used_by_an_alert() -> None:
    used = " ".join(f"{alert.value} {alert.condition}" for alert in ALERTS)

    assert [rule.record for rule in RECORDINGS if rule.record not in used] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_is_wrong_and_what_to_look_at_first(alert: Any) -> None:
    texts = (alert.summary, alert.description, alert.runbook)

    assert all(texts)
    assert alert.description.endswith(".")
    assert alert.runbook.endswith(".")
    assert alert.severity in {"critical", "warning"}


def test_runbooks_name_dashboards_that_are_there() -> None:
    titles = {board.title for board in BOARDS}
    named = {
        name for alert in ALERTS for name in re.findall(r"in the dashboard ([A-Z]\w+(?: and limits)?)", alert.runbook)
    }

    assert named
    assert named <= titles
