"""What schemathesis loads beside the document: the operations, and the rules that JSON Schema cannot express."""

import sys
from typing import Any

import pytest
import schemathesis
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from codegen.openapi.__main__ import generate
from codegen.openapi.document import document
from codegen.openapi.hooks import hooks
from tests.fuzz import hooks as runtime
from tests.fuzz.counts import Counts
from tests.fuzz.operations import Contract, Operation
from tests.unit.codegen.compiled import ROOT, contract, request

_SERVICE = """
    service S {
      rpc Do(M) returns (N) {
        option (google.api.http) = {post: "/a/{id}" body: "*"};
        option (chassis.v1.method) = {access: ACCESS_TOKEN deadline: {default: {seconds: 5} max: {seconds: 30}}};
      }
    }
    message N {}
"""
_FIELDS = """
    message M {
      option (buf.validate.message).cel = {id: "sum", message: "a + b", expression: "this.a + this.b < 9"};
      int64 id = 1 [(buf.validate.field).int64.gt = 0];
      int32 a = 2 [(buf.validate.field).int32 = {gte: 0, lte: 4}];
      int32 b = 3 [(buf.validate.field).int32 = {gte: 0, lte: 5}];
      string name = 4 [(buf.validate.field).string.max_bytes = 4];
      repeated Part parts = 5 [(buf.validate.field).repeated.items.cel = {
        id: "part", message: "even", expression: "this.size % 2 == 0"
      }];
    }
    message Part {
      int32 size = 1;
      repeated string tags = 2 [(buf.validate.field).repeated.items.string.max_bytes = 2];
    }
"""
_SOURCE = _SERVICE + _FIELDS
_LEFT = {
    "test.v1.M": {"sum"},
    "test.v1.M.name": {"string.max_bytes"},
    "test.v1.M.parts": {"part"},
    "test.v1.Part.tags": {"string.max_bytes"},
}


def _registered(source: str, monkeypatch: pytest.MonkeyPatch) -> Contract:
    """The contract that the generated module registers."""
    found: list[Contract] = []

    def register(operations: list[Operation], inexpressible: dict[str, set[str]]) -> None:
        found.append(Contract(tuple(operations), inexpressible))

    pool = contract(source)
    module = type(sys)("test_pb2")
    vars(module).update(M=GetMessageClass(pool.message("test.v1.M")))
    monkeypatch.setitem(sys.modules, "test_pb2", module)
    monkeypatch.setattr(runtime, "register", register)
    exec(compile(hooks(pool), "hooks", "exec"), {})
    return found[0]


def test_the_plugin_writes_the_hooks_beside_the_documents() -> None:
    response = generate(request(_SOURCE))
    assert [file.name for file in response.file] == ["openapi.json", "openapi-access.json", "schemathesis_hooks.py"]


def test_an_operation_has_its_route_its_message_and_its_need_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    (operation,) = _registered(_SOURCE, monkeypatch).operations
    assert (operation.id, operation.verb, operation.path) == ("Do", "POST", "/a/{id}")
    assert operation.request.DESCRIPTOR.full_name == "test.v1.M"
    assert operation.has_body
    assert (operation.access, operation.user_field) == ("token", "")


def test_the_rules_that_json_schema_cannot_express_are_listed_by_field_or_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _registered(_SOURCE, monkeypatch).inexpressible == _LEFT


def test_a_contract_without_such_rules_has_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    source = _SERVICE + "message M { int64 id = 1 [(buf.validate.field).int64.gt = 0]; }"
    assert _registered(source, monkeypatch).inexpressible == {}
    ours = (ROOT / "gen/openapi/schemathesis_hooks.py").read_text()
    assert "inexpressible={\n    },\n" in ours  # the day it is not, the oracle still finds what is dropped wrongly


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"a": 4, "b": 4}, True),
        ({"a": 4, "b": 5}, False),
        ({"name": "éé"}, True),
        ({"name": "ééé"}, False),
        ({"name": "ééé", "a": 4, "b": 5}, False),
        ({"parts": [{"size": 2}, {"size": 4, "tags": ["éé"]}]}, False),
        ({"parts": [{"size": 2}, {"size": 3}]}, False),
        ({"parts": [{"size": 2, "tags": ["é"]}]}, True),
        ({"name": "ééé", "a": 5}, True),  # the schema says that 5 is too much
        ({"name": 5}, True),
    ],
)
def test_a_case_is_dropped_when_it_breaks_only_such_rules(
    body: dict[str, Any],
    kept: bool,  # noqa: FBT001 - a column of the table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = Counts()
    hook = runtime.Inexpressible(_registered(_SOURCE, monkeypatch), counts)
    case = _operation().Case(path_parameters={"id": 1}, body=body, media_type="application/json")
    assert hook.keeps(case) is kept
    assert counts.dropped == (0 if kept else 1)


def test_no_case_that_is_kept_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _registered(_SOURCE, monkeypatch)
    counts = Counts()
    hook = runtime.Inexpressible(found, counts)
    kept: list[dict[str, Any]] = []

    @settings(
        max_examples=100, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(_operation().as_strategy(generation_mode=GenerationMode.POSITIVE))
    def generate_cases(case: Any) -> None:
        if hook.keeps(case):
            kept.append({"id": 1, **case.body})

    generate_cases()
    assert kept
    assert counts.dropped
    message = found.operations[0].request
    for body in kept:
        assert found.broken(json_format.ParseDict(body, message())) == frozenset()


def _operation() -> Any:
    return schemathesis.openapi.from_dict(document(contract(_SOURCE)))["/a/{id}"]["POST"]
