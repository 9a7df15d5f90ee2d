"""Each alert fires when it has to, and is silent a little below that. promtool plays half an hour for each case."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from codegen.dashboards.alerts import ALERTS
from compose.monitoring import CONFIG
from tests.prometheus import PROMTOOL, skip_without_prometheus

Series = Mapping[str, str]
"""Values by series, in the notation of promtool: `a+bxn` begins at a and grows n times, by b a minute."""

AT = "30m"
CALLS = (
    "rpc_server_duration_seconds_count{job='loms', rpc_service='LomsService', rpc_method='OrderCreate', rpc_code='%s'}"
)
SECONDS = "rpc_server_duration_seconds_bucket{rpc_service='LomsService', rpc_method='OrderCreate', le='%s'}"
ANSWERS = (
    "http_server_request_duration_seconds_count{http_request_method='POST', http_route='/order/pay', "
    "http_response_status_code='%s'}"
)
LAG = "event_loop_lag_seconds_bucket{job='cart', instance='a', le='%s'}"
CONNECTIONS = "db_client_connections{job='loms', instance='a', pool='primary', state='%s'}"
CONNECTIONS_MAX = "db_client_connections_max{job='loms', instance='a', pool='primary'}"
QUERIES = "db_client_duration_seconds_count{query='GetOrder', outcome='%s'}"
COMMANDS = "redis_client_duration_seconds_count{shard='0', command='GET', outcome='%s'}"
OLDEST = "outbox_oldest_seconds{job='%s'}"
PUBLISHED = "messaging_publish_duration_seconds_count{topic='loms.order-events', outcome='%s'}"
WAITING = "messaging_consumer_lag{topic='loms.order-events', partition='%s'}"
LETTERS = "notifier_dead_letters_total{job='notifier'}"
CIRCUIT = "rpc_client_circuit_open{job='cart', rpc_service='LomsService'}"
WAITS = "rate_limiter_wait_seconds_bucket{rpc_service='ProductService', rpc_method='GetProduct', le='%s'}"
ASKED = "cache_requests_total{rpc_service='ProductService', rpc_method='GetProduct', result='%s'}"

FIRING: dict[str, Series] = {
    "ProcessDown": {"up{job='loms'}": "1x28 0x1"},
    "RpcFaults": {CALLS % "OK": "0+94x30", CALLS % "INTERNAL": "0+3x30", CALLS % "UNAVAILABLE": "0+3x30"},
    "RpcSlow": {SECONDS % "1": "0+98x30", SECONDS % "2.5": "0+100x30", SECONDS % "+Inf": "0+100x30"},
    "GatewayFaults": {ANSWERS % "200": "0+94x30", ANSWERS % "500": "0+3x30", ANSWERS % "503": "0+3x30"},
    "EventLoopLags": {LAG % "0.1": "0+98x30", LAG % "0.25": "0+100x30", LAG % "+Inf": "0+100x30"},
    "PoolExhausted": {CONNECTIONS % "used": "10x30", CONNECTIONS % "idle": "0x30", CONNECTIONS_MAX: "10x30"},
    "QueriesFail": {QUERIES % "ok": "0+94x30", QUERIES % "error": "0+6x30"},
    "RedisFails": {COMMANDS % "ok": "0+49x30", COMMANDS % "error": "0+51x30"},
    "OutboxStuck": {OLDEST % "loms": "0x20 1+60x9"},
    "PublishFails": {PUBLISHED % "ok": "0+94x30", PUBLISHED % "error": "0+6x30"},
    "ConsumerLags": {WAITING % "0": "0+3x30", WAITING % "1": "0+3x30"},
    "DeadLetters": {LETTERS: "0x16 1x13"},
    "CircuitOpen": {CIRCUIT: "0x28 1x1"},
    "RateLimiterWaits": {WAITS % "1": "0+94x30", WAITS % "2.5": "0+100x30", WAITS % "+Inf": "0+100x30"},
    "CacheMisses": {ASKED % "hit": "0+29x30", ASKED % "stale": "0+20x30", ASKED % "miss": "0+51x30"},
}
SILENT: dict[str, Series] = {
    "ProcessDown": {"up{job='loms'}": "1x29 0"},
    "RpcFaults": {CALLS % "OK": "0+90x30", CALLS % "NOT_FOUND": "0+6x30", CALLS % "INTERNAL": "0+4x30"},
    "RpcSlow": {SECONDS % "1": "0+100x30", SECONDS % "2.5": "0+101x30", SECONDS % "+Inf": "0+101x30"},
    "GatewayFaults": {ANSWERS % "200": "0+90x30", ANSWERS % "404": "0+6x30", ANSWERS % "503": "0+4x30"},
    "EventLoopLags": {LAG % "0.1": "0+100x30", LAG % "0.25": "0+101x30", LAG % "+Inf": "0+101x30"},
    "PoolExhausted": {CONNECTIONS % "used": "9x30", CONNECTIONS % "idle": "1x30", CONNECTIONS_MAX: "10x30"},
    "QueriesFail": {QUERIES % "ok": "0+96x30", QUERIES % "error": "0+4x30"},
    "RedisFails": {COMMANDS % "ok": "0+51x30", COMMANDS % "error": "0+49x30"},
    "OutboxStuck": {OLDEST % "loms": "59x30", OLDEST % "cart": "0x29 61"},
    "PublishFails": {PUBLISHED % "ok": "0+96x30", PUBLISHED % "error": "0+4x30"},
    "ConsumerLags": {WAITING % "0": "99x30", WAITING % "1": "400-10x30"},
    "DeadLetters": {LETTERS: "0x10 1x19"},
    "CircuitOpen": {CIRCUIT: "0x29 1"},
    "RateLimiterWaits": {WAITS % "1": "0+96x30", WAITS % "2.5": "0+100x30", WAITS % "+Inf": "0+100x30"},
    "CacheMisses": {ASKED % "hit": "0+31x30", ASKED % "stale": "0+20x30", ASKED % "miss": "0+49x30"},
}
NO_TRAFFIC: dict[str, Series] = {"CacheMisses": {ASKED % "hit": "0+10x30", ASKED % "miss": "0+40x30"}}


@pytest.fixture(autouse=True)
def _prometheus() -> None:
    skip_without_prometheus()


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration, beside the targets that `make monitoring` writes."""
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "targets.json").write_text("[]")
    return tmp_path / "prometheus.yml"


def test_prometheus_takes_the_configuration_with_all_rules(config: Path) -> None:
    checked = promtool("check", "config", "--lint=all", "--lint-fatal", config)

    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in checked.stdout


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    names = {alert.name for alert in ALERTS}

    assert FIRING.keys() == names
    assert SILENT.keys() == names


def judged(folder: Path, cases: Mapping[str, Series], *, fires: bool) -> subprocess.CompletedProcess[str]:
    """Plays all cases at once, which have no series in common: does each alert do at the end what it has to?"""
    rules = [str(path) for path in sorted(CONFIG.glob("rules/*.yml"))]
    expected = [{"labels": "{}", "value": 1}] if fires else []
    played = {
        "interval": "1m",
        "input_series": [
            {"series": each, "values": values} for series in cases.values() for each, values in series.items()
        ],
        "promql_expr_test": [
            {"expr": f"count({firing(name)})", "eval_time": AT, "exp_samples": expected} for name in cases
        ],
    }
    file = folder / "cases.yml"
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": "1m", "tests": [played]}))
    return promtool("test", "rules", file)


def firing(name: str) -> str:
    return f"ALERTS{{alertname='{name}', alertstate='firing'}}"


def test_each_alert_fires_when_it_has_to(tmp_path: Path) -> None:
    tested = judged(tmp_path, FIRING, fires=True)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_is_silent_a_little_below_its_threshold(tmp_path: Path) -> None:
    tested = judged(tmp_path, SILENT, fires=False)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_cache_that_is_hardly_asked_may_miss(tmp_path: Path) -> None:
    tested = judged(tmp_path, NO_TRAFFIC, fires=False)

    assert tested.returncode == 0, tested.stdout + tested.stderr
