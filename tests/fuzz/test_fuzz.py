"""The short form of `make fuzz`, and its negative controls.

Those of 405 and of strict JSON are TestTheEdgeKnowsPathsAndMethods and
TestTheEdgeRefusesWhatTheContractDoesNotSay in services/gateway/edge_test.go.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.__main__ import ENOUGH, SUCCESSES, successes
from tests.fuzz.counts import Counts
from tests.fuzz.run import Run, config_of_two_users, fuzz, schemathesis
from tests.marketplace import ROOT, healthy_marketplace

_DOCUMENT = ROOT / "gen/openapi/openapi.json"
_ACCESS_DOCUMENT = ROOT / "gen/openapi/openapi-access.json"
_SEED, _FEW = 1, 5
_LOST = {
    "OrderInfo": ["minimum"],  # int64.gt
    "StocksInfo": ["minimum"],  # uint32.gt
    "ItemAdd": ["maximum"],  # uint32.lte
    "OrderCreate": ["pattern", "format"],  # string.uuid
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("examples", "least"), [(20, 700), pytest.param(ENOUGH, 1000, marks=pytest.mark.long)])
def test_in_a_run_nothing_fails_every_operation_succeeds_often_enough_and_nearly_every_case_is_judged(
    examples: int, least: int, tmp_path: Path
) -> None:
    """One test, as it is one run."""
    run = fuzz(tmp_path, _SEED, examples)
    assert run.exit_code == 0, run.output
    assert all(f"✅ {phase}" in run.output for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"))
    assert run.successes.keys() == {each["operationId"] for each in _operations(json.loads(_DOCUMENT.read_text()))}
    assert {name: number for name, number in run.successes.items() if number < successes(examples)} == {}

    cases, judged, undecided = (run.counts[name] for name in ("cases", "judged", "undecided"))
    assert cases > least
    assert run.counts["failed"] == 0
    assert judged + sum(undecided.values()) == cases
    assert judged >= 0.99 * cases
    assert run.counts["dropped"] <= 0.01 * cases


@pytest.mark.timeout(120)
def test_in_a_run_with_access_on_nothing_fails_and_every_operation_is_open_to_those_alone_who_may(
    tmp_path: Path,
) -> None:
    run = fuzz(tmp_path, _SEED, _FEW, access=True)
    assert run.exit_code == 0, run.output
    assert run.problems(successes(_FEW)) == []
    assert run.counts["judged"] >= 0.99 * run.counts["cases"] > 400

    operations = list(_operations(json.loads(_ACCESS_DOCUMENT.read_text())))
    answers = run.counts["answers"]
    assert run.successes.keys() == answers.keys() == {each["operationId"] for each in operations}
    for operation in operations:
        found, access = answers[operation["operationId"]], operation["x-access"]
        assert ("401" in found) == (access != "public"), operation["operationId"]
        assert ("403" in found) == (access == "own_user"), operation["operationId"]


@pytest.mark.parametrize(("dropped", "complaints"), [(0, 0), (10, 0), (11, 1)])
def test_a_run_that_drops_more_than_one_case_in_a_hundred_fails(dropped: int, complaints: int) -> None:
    counts = Counts(cases={str(number) for number in range(1000)}, dropped=dropped)
    assert len(counts.complaints()) == complaints


def test_a_run_that_cannot_judge_more_than_one_case_in_a_hundred_fails() -> None:
    counts = Counts(cases={str(number) for number in range(1000)})
    counts.undecided["a map"] += 11
    assert counts.complaints() == ["11 of 1000 cases were undecided by the oracle: more than 1 %"]


def test_a_run_has_problems_when_it_fails_or_an_operation_hardly_ever_succeeds() -> None:
    answers = {"OrderPay": {"200": 29, "412": 99}, "List": {"200": 30}}
    counts = {"cases": 158, "answers": answers}
    assert Run(0, "", 1, counts).problems(30) == ["OrderPay had 29 answers 2xx"]
    assert Run(1, "", 1, counts).problems(0) == ["schemathesis ended with 1"]
    assert Run(0, "", 1, {}).problems(0) == ["nothing was judged"]
    assert [successes(examples) for examples in (8, ENOUGH // 2, ENOUGH, 1000)] == [3, 15, SUCCESSES, SUCCESSES]


# Negative controls


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("controls") / "log"
    with healthy_marketplace(log, MARKETPLACE_LOG_LEVEL="error") as marketplace:
        yield marketplace.url


def _take(keywords: Collection[str], value: Any) -> None:
    """Takes keywords out of every schema in it."""
    if isinstance(value, dict):
        for keyword in keywords:
            value.pop(keyword, None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _take(keywords, part)


def _failures(output: str) -> dict[str, str]:
    """What is told of each operation that has failed."""
    _, *parts = re.split(r"^_+ (.+) _+$", output.partition("= SUMMARY =")[0], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_schemathesis_fails_for_each_operation_of_which_the_document_lacks_a_kind_of_rule(
    url: str, tmp_path: Path
) -> None:
    """So a mapping that is lost is found. `tests/unit/codegen/test_rules_shown.py` finds it for every kind of rule.

    405 and Allow for undeclared methods, and the strict JSON, have negative controls of their own in the Go tests of
    services/gateway (edge_test.go, json_check_test.go): a gateway that is lenient there fails them.
    """
    document = json.loads(_DOCUMENT.read_text())
    for operation, keywords in _LOST.items():
        [found] = [each for each in _operations(document) if each["operationId"] == operation]
        _take(keywords, [found, document["components"]["schemas"].get(f"{operation}Request")])
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    only = [option for name in _LOST for option in ("--include-operation-id", name)]
    options = ("--seed", "1", "--max-examples", "20", "--phases", "coverage,fuzzing", "--no-shrink", *only)
    run = schemathesis(tmp_path / "run", str(file), "--url", url, *options)
    assert run.exit_code == 1, run.output
    told = _failures(run.output)
    rejected = {operation for operation, failures in told.items() if "Schema-valid request rejected" in failures}
    assert rejected == {"GET /order/info", "GET /stock/info", "POST /user/{userId}/cart/{sku}", "POST /order/create"}


def test_a_run_fails_when_the_oracle_expects_another_answer(url: str, tmp_path: Path) -> None:
    """It takes part in every run: told of another token, it wants 401 where the right one was sent."""
    config = tmp_path / "schemathesis.toml"
    text = (ROOT / "schemathesis.toml").read_text()
    assert 'token = "testtoken"' in text
    config.write_text(text.replace('token = "testtoken"', 'token = "another"'))
    options = ("--phases", "examples", "--include-operation-id", "GetProduct")
    found = schemathesis(tmp_path / "run", f"{url}/openapi.json", *options, config=config)
    assert found.exit_code == 1
    assert "the answer is 200 and not 401" in found.output
    assert found.counts["failed"] > 0


def test_a_run_with_access_on_fails_where_access_is_off(url: str, tmp_path: Path) -> None:
    """It lets both users into each other's carts, and those in who bring no token, which schemathesis tries itself."""
    config = config_of_two_users(tmp_path / "schemathesis.toml")
    options = ("--seed", "1", "--max-examples", "20", "--phases", "fuzzing", "--mode", "positive", "--no-shrink")
    only = ("--include-operation-id", "Clear", "--url", url)
    folder = tmp_path / "access"
    found = schemathesis(tmp_path / "run", str(_ACCESS_DOCUMENT), *options, *only, config=config, access_folder=folder)
    assert found.exit_code == 1
    assert "the answer is 204 and not 403" in found.output
    assert "API accepts requests without authentication" in found.output


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()
