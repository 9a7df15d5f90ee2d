"""What breaks a user of the contract: pairs of small contracts, and ours against its baseline."""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor

from codegen.breaking import rules
from codegen.breaking.__main__ import compare
from codegen.descriptors import ContractError
from tests.unit.codegen.compiled import ROOT, contract, request

BASELINE = ROOT / "api/baseline.binpb.gz"
_POLICY = "access: ACCESS_TOKEN deadline: {default: {seconds: 5} max: {seconds: 30}}"
_OPTION = f"option (chassis.v1.method) = {{{_POLICY}}};"
_TYPES = "enum E { E_UNSPECIFIED = 0; E_A = 1; E_B = 2; } message Inner { uint32 n = 1; }\n"


def _found(old: str, new: str, folder: Path | None = None) -> list[str]:
    """What breaks a user, without the name of the file."""
    found = [str(each) for each in compare(contract(old, folder), contract(new, folder))]
    assert all(each.startswith("api/test.proto: test.v1.") for each in found)
    return [each.removeprefix("api/test.proto: test.v1.") for each in found]


def _used_on_both_sides(body: str, more: str = "") -> str:
    """A contract with an RPC whose request and response both have this body."""
    service = f"service S {{ rpc Do(In) returns (Out) {{ {_OPTION} }} }}"
    return f"{service} {_TYPES}{more}message In {{ {body} }} message Out {{ {body} }}"


def _ruled(field: str, rule: str) -> str:
    return _used_on_both_sides(_field(field, rule))


def _field(field: str, rule: str) -> str:
    return f"{field} f = 1{f' [(buf.validate.field).{rule}]' if rule else ''};"


_TIGHTER = [
    # Limits
    ("uint32", "uint32.lte = 65535", "uint32.lte = 1000", "lte 65535 → lte 1000"),
    ("uint32", "uint32 = {gte: 1, lte: 9}", "uint32 = {gte: 1, lt: 9}", "lte 9 → lt 9"),
    ("uint32", "", "uint32.gt = 0", "none → gt 0"),
    ("int64", "int64.gte = 1", "int64.gt = 1", "gte 1 → gt 1"),
    ("sint32", "sint32 = {gt: 10, lt: -5}", "sint32 = {gt: 20, lt: -5}", "gt 10 → gt 20"),
    ("sfixed64", "sfixed64 = {gte: 10, lte: -5}", "sfixed64.gt = 9", "lte -5, gte 10 → gt 9"),
    ("int32", "int32 = {gt: 1}", "int32 = {gt: 1, lt: 2}", "none → lt 2"),
    ("double", "double.gte = 1.5", "double.gt = 1.5", "gte 1.5 → gt 1.5"),
    ("float", "float = {lt: 2}", "float = {lt: 2, gte: 1}", "none → gte 1.0"),
    ("float", "", "float.finite = true", "none → finite"),
    # Lists of values
    ("fixed32", "fixed32 = {in: [1, 2, 3]}", "fixed32 = {in: [3, 1]}", "in [1, 2, 3] → in [3, 1]"),
    ("uint64", "uint64 = {in: [1, 2]}", "uint64.const = 1", "in [1, 2] → const 1"),
    ("int32", "int32 = {not_in: [1]}", "int32 = {not_in: [1, 2]}", "not_in [1] → not_in [1, 2]"),
    ("bool", "", "bool.const = true", "none → const true"),
    ("E", "", "enum.defined_only = true", "none → defined_only"),
    ("E", "enum.defined_only = true", "enum = {in: [1]}", "defined_only → in [1]"),
    ("E", "enum = {not_in: [0]}", "enum = {not_in: [0], const: 1}", "none → const 1"),
    # Texts
    ("string", "string.min_len = 1", "string.min_len = 2", "min_len 1 → min_len 2"),
    ("string", "string.max_len = 5", "string.max_len = 4", "max_len 5 → max_len 4"),
    ("string", "string = {min_len: 1, max_len: 5}", "string.len = 5", "min_len 1, max_len 5 → len 5"),
    ("string", "string.min_bytes = 1", "string.len_bytes = 1", "min_bytes 1 → len_bytes 1"),
    ("string", "string.max_bytes = 9", "string.max_bytes = 8", "max_bytes 9 → max_bytes 8"),
    ("string", "", 'string.pattern = "^a$"', 'none → pattern "^a$"'),
    ("string", "", 'string.prefix = "a"', 'none → prefix "a"'),
    ("string", "", 'string.suffix = "a"', 'none → suffix "a"'),
    ("string", "", 'string.contains = "a"', 'none → contains "a"'),
    ("string", "", 'string.not_contains = "a"', 'none → not_contains "a"'),
    ("string", 'string = {in: ["a", "b"]}', 'string = {in: ["a"]}', 'in ["a", "b"] → in ["a"]'),
    ("string", "", "string.uuid = true", "none → uuid"),
    ("string", "string.email = false", "string.email = true", "none → email"),
    (
        "string",
        "string = {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME, strict: false}",
        "string.well_known_regex = KNOWN_REGEX_HTTP_HEADER_NAME",
        "strict false → none",
    ),
    # Bytes
    ("bytes", "bytes.min_len = 1", "bytes.len = 1", "min_len 1 → len 1"),
    ("bytes", "", "bytes.ip = true", "none → ip"),
    ("bytes", "", 'bytes.pattern = "^a$"', 'none → pattern "^a$"'),
    ("bytes", 'bytes = {in: ["a", "b"]}', 'bytes.const = "b"', "in [b'a', b'b'] → const b'b'"),
    # Lists and maps
    ("repeated uint32", "repeated.min_items = 1", "repeated.min_items = 2", "min_items 1 → min_items 2"),
    ("repeated uint32", "repeated.max_items = 3", "repeated.max_items = 2", "max_items 3 → max_items 2"),
    ("repeated uint32", "", "repeated.unique = true", "none → unique"),
    ("repeated E", "", "repeated.items.enum.defined_only = true", "none → items.defined_only"),
    (
        "repeated uint32",
        "repeated.items.uint32.lt = 9",
        "repeated.items.uint32.lt = 8",
        "items.lt 9 → items.lt 8",
    ),
    (
        "repeated Inner",
        "repeated.items.ignore = IGNORE_ALWAYS",
        "repeated.items.ignore = IGNORE_UNSPECIFIED",
        "items.IGNORE_ALWAYS → items.IGNORE_UNSPECIFIED",
    ),
    ("map<string, E>", "map.max_pairs = 3", "map.max_pairs = 2", "max_pairs 3 → max_pairs 2"),
    ("map<string, E>", "map.min_pairs = 1", "map.min_pairs = 2", "min_pairs 1 → min_pairs 2"),
    ("map<string, E>", "", "map.keys.string.min_len = 1", "none → keys.min_len 1"),
    ("map<string, E>", "", "map.values.enum.defined_only = true", "none → values.defined_only"),
    # Well-known types
    ("google.protobuf.Any", 'any = {in: ["a", "b"]}', 'any = {in: ["a"]}', 'in ["a", "b"] → in ["a"]'),
    ("google.protobuf.Int64Value", "int64.gt = 5", "int64.gt = 6", "gt 5 → gt 6"),
    ("google.protobuf.Duration", "duration.lt = {seconds: 5}", "duration.lt = {seconds: 4}", "lt 5s → lt 4s"),
    (
        "google.protobuf.Duration",
        "duration = {in: [{seconds: 1}, {seconds: 2}]}",
        "duration.const = {seconds: 2}",
        "in [1s, 2s] → const 2s",
    ),
    ("google.protobuf.Timestamp", "", "timestamp.lt_now = true", "none → lt_now"),
    (
        "google.protobuf.Timestamp",
        "timestamp.within = {seconds: 5}",
        "timestamp.within = {seconds: 4}",
        "within 5s → within 4s",
    ),
    (
        "google.protobuf.Timestamp",
        "timestamp.gte = {seconds: 5}",
        "timestamp.gt = {seconds: 5}",
        "gte 1970-01-01T00:00:05Z → gt 1970-01-01T00:00:05Z",
    ),
    (
        "google.protobuf.FieldMask",
        'field_mask = {in: ["a", "b"]}',
        'field_mask = {in: ["a"]}',
        'in ["a", "b"] → in ["a"]',
    ),
    ("google.protobuf.FieldMask", "", 'field_mask.const = {paths: ["a"]}', "none → const a"),
    # Rules of any field
    ("string", "", "required = true", "none → required"),
    ("string", "string.min_len = 2", "required = true, (buf.validate.field).string.min_len = 2", "none → required"),
    (
        "int32",
        "int32.gt = 5, (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE",
        "int32.gt = 5",
        "IGNORE_IF_ZERO_VALUE → IGNORE_UNSPECIFIED",
    ),
    ("int32", "int32.gt = 5, (buf.validate.field).ignore = IGNORE_ALWAYS", "int32.gt = 5", "none → gt 5"),
    (
        "Inner",
        "ignore = IGNORE_ALWAYS",
        "ignore = IGNORE_UNSPECIFIED",
        "IGNORE_ALWAYS → IGNORE_UNSPECIFIED",
    ),
    ("int32", "", 'cel = {id: "odd" expression: "this % 2 == 1"}', "none → cel [odd: this % 2 == 1]"),
    ("int32", "", 'cel_expression = "this > 1"', 'none → cel_expression ["this > 1"]'),
]


def _all(rules: Sequence[tuple[str, str]]) -> str:
    """A contract with an RPC for each of these fields, which is in its request and in its response."""
    numbered = [(number, _field(field, rule)) for number, (field, rule) in enumerate(rules)]
    rpcs = (f"rpc Do{number}(In{number}) returns (Out{number}) {{ {_OPTION} }}\n" for number, _ in numbered)
    messages = (f"message In{number} {{ {field} }} message Out{number} {{ {field} }}\n" for number, field in numbered)
    return f"service S {{ {''.join(rpcs)} }}\n{_TYPES}{''.join(messages)}"


@cache
def _compared() -> tuple[list[str], list[str]]:
    """What is found from the loose rules to the tight ones, and back. At once: a compilation takes its time."""
    loose, tight = (_all([(row[0], row[column]) for row in _TIGHTER]) for column in (1, 2))
    return _found(loose, tight), _found(tight, loose)


@pytest.mark.parametrize("number", range(len(_TIGHTER)), ids=[f"{row[0]} {row[3]}" for row in _TIGHTER])
def test_a_request_must_not_get_tighter_and_a_response_not_looser(number: int) -> None:
    shown = _TIGHTER[number][3]
    backwards = " → ".join(reversed(shown.split(" → ")))
    elements = (f"In{number}.", f"Out{number}.")
    tightened, loosened = ([each for each in found if each.startswith(elements)] for found in _compared())
    assert tightened == [f"In{number}.f: request rule tightened: {shown}"]
    assert loosened == [f"Out{number}.f: response rule loosened: {backwards}"]


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("string", 'string.pattern = "^a$"', 'string.pattern = "^b$"'),
        ("string", "string.uuid = true", "string.tuuid = true"),
        ("string", 'string = {in: ["a", "b"]}', 'string = {in: ["b", "c"]}'),
        ("string", "string = {min_len: 1, max_len: 5}", "string = {min_len: 2, max_len: 6}"),
        ("uint32", "uint32 = {gt: 1, lt: 5}", "uint32 = {gt: 2, lt: 6}"),
        ("sint32", "sint32 = {gt: 10, lt: -5}", "sint32 = {gt: -5, lt: 10}"),
        ("int32", 'cel = {id: "a" expression: "this > 1"}', 'cel = {id: "a" expression: "this > 2"}'),
    ],
)
def test_a_change_that_is_neither_tighter_nor_looser_breaks_both_sides(field: str, one: str, other: str) -> None:
    found = _found(_ruled(field, one), _ruled(field, other))
    assert [each.split(" changed: ")[0] for each in found] == ["In.f: request rule", "Out.f: response rule"]


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("int64", "int64.gt = 0", "int64.gte = 1"),
        ("uint32", "uint32.lt = 10", "uint32.lte = 9"),
        ("uint32", "", "uint32.gte = 0"),
        ("int32", "int32.const = 5", "int32 = {in: [5, 5]}"),
        ("string", "string.len = 5", "string = {min_len: 5, max_len: 5}"),
        ("string", "", "string.min_len = 0"),
        ("string", "", "string.uuid = false"),
        ("string", "string.uuid = true", 'string = {uuid: true, example: ["a"]}'),
        ("string", "", "required = false"),
        ("int32", "", "ignore = IGNORE_ALWAYS"),
        ("E", "enum.defined_only = true", "enum = {in: [0, 1, 2]}"),
        ("int32", 'cel = {id: "a" message: "x" expression: "true"}', 'cel = {id: "a" message: "y" expression: "true"}'),
    ],
)
def test_rules_that_let_the_same_through_are_equal(field: str, one: str, other: str) -> None:
    assert _found(_ruled(field, one), _ruled(field, other)) == []
    assert _found(_ruled(field, other), _ruled(field, one)) == []


_FIELDS = "uint32 a = 1; uint32 b = 2;"
_ONEOF = "oneof one { uint32 a = 1; uint32 b = 2; }"


@pytest.mark.parametrize(
    ("loose", "tight", "element", "shown"),
    [
        (
            _FIELDS,
            f'option (buf.validate.message).cel = {{id: "a" expression: "this.a > 1"}}; {_FIELDS}',
            "",
            "none → cel [a: this.a > 1]",
        ),
        (
            f'option (buf.validate.message).oneof = {{fields: ["a", "b"]}}; {_FIELDS}',
            f'option (buf.validate.message).oneof = {{fields: ["b", "a"] required: true}}; {_FIELDS}',
            "",
            "oneof [at most one of a, b] → oneof [one of a, b]",
        ),
        (_ONEOF, _ONEOF.replace("{", "{ option (buf.validate.oneof).required = true;"), ".one", "none → required"),
    ],
)
def test_so_do_the_rules_of_messages_and_oneofs(loose: str, tight: str, element: str, shown: str) -> None:
    one, other = _used_on_both_sides(loose), _used_on_both_sides(tight)
    backwards = " → ".join(reversed(shown.split(" → ")))
    assert _found(one, other) == [f"In{element}: request rule tightened: {shown}"]
    assert _found(other, one) == [f"Out{element}: response rule loosened: {backwards}"]


def test_a_message_rule_that_lists_a_field_leaves_its_zero_value_alone() -> None:
    fields = "uint32 a = 1 [(buf.validate.field).uint32.gt = 5]; uint32 b = 2;"
    listed = f'option (buf.validate.message).oneof = {{fields: ["a", "b"]}}; {fields}'
    assert _found(_used_on_both_sides(fields), _used_on_both_sides(listed)) == [
        "In: request rule tightened: none → oneof [at most one of a, b]",
        "Out.a: response rule loosened: IGNORE_UNSPECIFIED → IGNORE_IF_ZERO_VALUE",
    ]


def test_a_new_value_of_an_enum_loosens_defined_only() -> None:
    old = _ruled("E", "enum.defined_only = true")
    new = old.replace("E_B = 2;", "E_B = 2; E_C = 3;")
    assert [each.split(":")[0] for each in _found(old, new)] == ["Out.f"]
    assert [each.split(":")[0] for each in _found(new, old)] == ["In.f"]


def test_messages_inside_of_others_count_for_each_side_that_uses_them() -> None:
    old = _used_on_both_sides("repeated Inner f = 1;", "message Unused { uint32 n = 1; }")
    new = old.replace("uint32 n = 1;", "uint32 n = 1 [(buf.validate.field).uint32.gt = 5];")
    assert _found(old, new) == ["Inner.n: request rule tightened: none → gt 5"]
    assert _found(new, old) == ["Inner.n: response rule loosened: gt 5 → none"]


def test_a_message_counts_through_a_map_and_not_where_its_rules_are_ignored() -> None:
    for field, expected in {
        "map<string, Inner> f = 1": ["Inner.n"],
        "Inner f = 1 [(buf.validate.field).ignore = IGNORE_ALWAYS]": [],
    }.items():
        old = _used_on_both_sides(f"{field};")
        new = old.replace("uint32 n = 1;", "uint32 n = 1 [(buf.validate.field).uint32.gt = 5];")
        assert [each.split(":")[0] for each in _found(old, new)] == expected


def test_a_new_field_breaks_a_request_only_if_it_must_be_set() -> None:
    old = _used_on_both_sides("uint32 a = 1;")
    assert _found(old, _used_on_both_sides("uint32 a = 1; uint32 b = 2;")) == []
    assert _found(old, _used_on_both_sides("uint32 a = 1; uint32 b = 2 [(buf.validate.field).uint32.gt = 0];")) == [
        "In.b: request field added that must be set"
    ]


def test_a_rule_of_the_contract_itself_breaks_with_its_setting_and_with_its_meaning(tmp_path: Path) -> None:
    own = """
        syntax = "proto2";
        package own;
        import "buf/validate/validate.proto";
        extend buf.validate.StringRules {
          optional bool same = 80000 [(buf.validate.predefined).cel = {id: "same" expression: "this == 'a'"}];
        }
    """
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "own.proto").write_text(own)
    (other / "own.proto").write_text(own.replace("'a'", "'b'"))
    plain = f'import "own.proto"; {_ruled("string", "")}'
    ruled = f'import "own.proto"; {_ruled("string", "string.(own.same) = true")}'
    assert _found(plain, ruled, tmp_path) == ["In.f: request rule tightened: none → (own.same) true"]
    found = compare(contract(ruled, tmp_path), contract(ruled, other))
    assert [each.element for each in found] == ["test.v1.In.f", "test.v1.Out.f"]


def test_every_rule_of_protovalidate_has_a_direction() -> None:
    found = contract(_ruled("string", "string.min_len = 1"))
    assert _refused(found.message("buf.validate.FieldRules"), set()) == {"FieldRules.ignore"}
    assert _refused(found.message("buf.validate.MessageRules"), set()) == set()
    assert _refused(found.message("buf.validate.OneofRules"), set()) == set()


def _refused(message: Descriptor, seen: set[str]) -> set[str]:
    """The rules of this message and those inside of it that have no row."""
    refused: set[str] = set()
    seen.add(message.full_name)
    for rule in message.fields:
        kind = rule.message_type
        if kind is not None and kind.full_name.endswith("Rules"):
            refused |= _refused(kind, seen) if kind.full_name not in seen else set()
        elif rule.name != "example":
            try:
                rules.row(rule)
            except ContractError:
                refused.add(f"{message.name}.{rule.name}")
    return refused


def test_a_rule_that_is_not_known_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A new version of protovalidate may bring one. Nothing says which way it works."""
    known = "optional uint64 min_len = 2 ["
    text = (ROOT / "third_party/proto/buf/validate/validate.proto").read_text()
    assert known in text
    target = tmp_path / "buf/validate/validate.proto"
    target.parent.mkdir(parents=True)
    target.write_text(text.replace(known, f"optional uint64 vowels = 99;\n  {known}"))
    source = _ruled("string", "string.vowels = 5")
    with pytest.raises(ContractError, match=r"^test\.v1\.In\.f: .*StringRules\.vowels is not known"):
        _found(source, source, tmp_path)


# RPCs

_ERROR = 'errors: {code: CODE_NOT_FOUND reason: "GONE" description: "It is gone."}'
_KEY = 'idempotency_key: "key"'
_OTHER_KEY = 'idempotency_key: "other"'
_HTTP = "option (google.api.http) = {get: '/a'};"


def _rpc(policy: str = _POLICY, http: str = "", name: str = "Do") -> str:
    method = f"rpc {name}(In) returns (Out) {{ {http} option (chassis.v1.method) = {{{policy}}}; }}"
    return f"service S {{ {method} }} message In {{ uint32 n = 1; string key = 2; string other = 3; }} message Out {{}}"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (_rpc(), _rpc(name="Other"), "RPC removed"),
        (_rpc(http=_HTTP), _rpc(), "route removed: GET /a"),
        (_rpc(http=_HTTP), _rpc(http=_HTTP.replace("/a", "/b")), "route removed: GET /a"),
        (_rpc(http=_HTTP), _rpc(http=_HTTP.replace("get", "delete")), "route removed: GET /a"),
        (
            _rpc(http="option (google.api.http) = {post: '/a' body: '*'};"),
            _rpc(http="option (google.api.http) = {post: '/a'};"),
            "route removed: POST /a with a body",
        ),
        (
            _rpc(http="option (google.api.http) = {get: '/a' additional_bindings: {get: '/b'}};"),
            _rpc(http=_HTTP),
            "route removed: GET /b",
        ),
        (_rpc(), _rpc(f"{_POLICY} success_status: 201"), "success status changed: 200 → 201"),
        (_rpc(f"{_POLICY} {_ERROR}"), _rpc(), "error removed: NOT_FOUND GONE"),
        (
            _rpc(f"{_POLICY} {_ERROR}"),
            _rpc(f"{_POLICY} {_ERROR.replace('NOT_FOUND', 'ABORTED')}"),
            "error removed: NOT_FOUND GONE",
        ),
        (_rpc(), _rpc(_POLICY.replace("seconds: 5", "seconds: 4")), "default deadline shortened: 5s → 4s"),
        (_rpc(), _rpc(_POLICY.replace("seconds: 30", "seconds: 29")), "longest deadline shortened: 30s → 29s"),
        (_rpc(), _rpc(_POLICY.replace("TOKEN", "SERVICE")), "access restricted: TOKEN → SERVICE"),
        (_rpc(), _rpc(_POLICY.replace("TOKEN", "OWN_USER")), "access restricted: TOKEN → OWN_USER"),
        (
            _rpc(_POLICY.replace("TOKEN", "OWNER")),
            _rpc(_POLICY.replace("TOKEN", "OWN_USER")),
            "access restricted: OWNER → OWN_USER",
        ),
        (_rpc(f"{_POLICY} {_KEY}"), _rpc(), "no longer safe to repeat with the same key"),
        (
            _rpc(f"{_POLICY} {_KEY}"),
            _rpc(f"{_POLICY} {_OTHER_KEY}"),
            "no longer safe to repeat with the same key",
        ),
    ],
)
def test_an_rpc_that_promises_less_breaks_its_callers(old: str, new: str, text: str) -> None:
    assert _found(old, new) == [f"S.Do: {text}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (_rpc(http=_HTTP), _rpc(http="option (google.api.http) = {get: '/b' additional_bindings: {get: '/a'}};")),
        (_rpc(), _rpc(http=_HTTP)),
        (_rpc(), _rpc(f"{_POLICY} success_status: 200")),
        (_rpc(), _rpc(f"{_POLICY} {_ERROR}")),
        (_rpc(f"{_POLICY} {_ERROR}"), _rpc(f"{_POLICY} {_ERROR.replace('It is', 'It was')}")),
        (_rpc(), _rpc(_POLICY.replace("seconds: 5", "seconds: 6").replace("seconds: 30", "seconds: 31"))),
        (_rpc(), _rpc(_POLICY.replace("TOKEN", "PUBLIC"))),
        (_rpc(_POLICY.replace("TOKEN", "OWNER")), _rpc()),
        (_rpc(), _rpc(f"{_POLICY} {_KEY}")),
        (_rpc(f"{_POLICY} {_KEY}"), _rpc(f"{_POLICY} {_KEY}")),
        (_rpc(f"{_POLICY} {_KEY}"), _rpc(http="option idempotency_level = IDEMPOTENT;")),
    ],
)
def test_an_rpc_that_promises_more_breaks_nobody(old: str, new: str) -> None:
    assert _found(old, new) == []


def test_a_contract_that_is_older_than_keys_has_none(tmp_path: Path) -> None:
    target = tmp_path / "chassis/v1/options.proto"
    target.parent.mkdir(parents=True)
    text = (ROOT / "api/chassis/v1/options.proto").read_text()
    assert "string idempotency_key = 6;" in text
    target.write_text(text.replace("string idempotency_key = 6;", ""))

    assert compare(contract(_rpc(), tmp_path), contract(_rpc(f"{_POLICY} {_KEY}"))) == []


_LIMITS = """max_concurrent: 9
    retry: {attempts: 3 codes: [CODE_UNAVAILABLE] initial_backoff: {seconds: 1} max_backoff: {seconds: 2}}
    rate_limit: {per_second: 10 burst: 10 scope: SCOPE_PROCESS} cache: {time_to_live: {seconds: 60}}
"""


@pytest.mark.parametrize(
    "new",
    [
        "",
        _LIMITS.replace("max_concurrent: 9", "max_concurrent: 1"),
        _LIMITS.replace("attempts: 3", "attempts: 2"),
        _LIMITS.replace("per_second: 10 burst: 10 scope: SCOPE_PROCESS", "per_second: 1 burst: 1 scope: SCOPE_SHARED"),
        _LIMITS.replace("seconds: 60", "seconds: 600"),
    ],
)
def test_how_calls_are_paced_retried_and_kept_is_no_promise(new: str) -> None:
    assert _found(_rpc(f"{_POLICY} {_LIMITS}"), _rpc(f"{_POLICY} {new}")) == []


def test_a_service_that_is_gone_breaks_its_callers() -> None:
    assert _found(_rpc(), _rpc().replace("service S", "service T")) == ["S: service removed"]


def test_what_a_code_means_over_http_is_a_promise_too(tmp_path: Path) -> None:
    target = tmp_path / "chassis/v1/options.proto"
    target.parent.mkdir(parents=True)
    text = (ROOT / "api/chassis/v1/options.proto").read_text()
    assert "{http_status: 404}" in text
    target.write_text(text.replace("{http_status: 404}", "{http_status: 410}").replace("common:", "common: '' //"))
    found = [str(each) for each in compare(contract(_rpc()), contract(_rpc(), tmp_path))]
    assert "api/chassis/v1/options.proto: chassis.v1.CODE_NOT_FOUND: HTTP status changed: 404 → 410" in found
    assert "api/chassis/v1/options.proto: chassis.v1.CODE_UNAVAILABLE: error removed" in found


# Events

_EVENT = """
    message E { option (chassis.v1.event) = {topic: "t" partitions: 2 key: "id" headers: "test.v1.H"};
      int64 id = 1 [(buf.validate.field).int64.gt = 0]; string more = 2;
    }
    message H { string event_id = 1 [(buf.validate.field).string.uuid = true]; }
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("int64.gt = 0", "int64.gt = -1", "E.id: event rule loosened: gt 0 → gt -1"),
        ("string.uuid = true", "string.uuid = false", "H.event_id: event rule loosened: uuid → none"),
        ('topic: "t"', 'topic: "u"', "E: topic of the event changed: t → u"),
        ("partitions: 2", "partitions: 3", "E: partitions of the event changed: 2 → 3"),
        ('key: "id"', 'key: "more"', "E: key of the event changed: id → more"),
        ('headers: "test.v1.H"', "", "E: headers of the event changed: test.v1.H → none"),
        (
            "string more = 2;",
            "string more = 2; string most = 3;",
            "E.most: event field added: a reader takes exactly the fields that it knows",
        ),
    ],
)
def test_an_event_that_promises_less_breaks_its_readers(old: str, new: str, text: str) -> None:
    assert _found(_EVENT, _EVENT.replace(old, new)) == [text]


def test_an_event_whose_rules_get_tighter_breaks_nobody() -> None:
    assert _found(_EVENT, _EVENT.replace("int64.gt = 0", "int64.gt = 5")) == []


def test_an_event_that_is_gone_breaks_its_readers() -> None:
    body = 'option (chassis.v1.event) = {topic: "t" partitions: 2 key: "id" headers: "test.v1.H"};'
    assert body in _EVENT
    assert _found(_EVENT, _EVENT.replace(body, "")) == ["E: event removed"]


# The command, and our contract


def _image(source: str, path: Path) -> Path:
    files = descriptor_pb2.FileDescriptorSet(file=request(source).proto_file)
    path.write_bytes(files.SerializeToString())
    return path


def _command(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codegen.breaking", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_what_it_finds_and_ends_with_1(tmp_path: Path) -> None:
    old = _image(_ruled("uint32", "uint32.lte = 65535"), tmp_path / "old.binpb")
    new = _image(_ruled("uint32", "uint32.lte = 1000"), tmp_path / "new.binpb")
    found = _command(old, new)
    assert found.stdout == "api/test.proto: test.v1.In.f: request rule tightened: lte 65535 → lte 1000\n"
    assert found.returncode == 1
    assert _command(new, new).returncode == 0


def test_the_command_ends_with_2_when_it_cannot_tell(tmp_path: Path) -> None:
    image = _image("service S { rpc Do(M) returns (M); } message M {}", tmp_path / "image.binpb")
    found = _command(image, image)
    assert (found.returncode, found.stdout) == (2, "")
    assert "test.v1.S.Do" in found.stderr


def _buf(*arguments: str, cwd: Path = ROOT) -> None:
    subprocess.run([ROOT / ".venv/bin/buf", *arguments], cwd=cwd, check=True)


def _make_breaking(baseline: Path) -> subprocess.CompletedProcess[str]:
    """`make breaking` with another baseline, and without the set-up, which is there."""
    command = ["make", "--old-file", "setup/python", "breaking", f"BASELINE={baseline}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_our_contract_breaks_nobody_who_knows_the_baseline() -> None:
    found = _make_breaking(BASELINE)
    assert (found.stdout, found.returncode) == ("", 0), found.stderr


def _baseline(folder: Path, *changes: tuple[str, str]) -> Path:
    """A baseline in which the contract of LOMS was another one."""
    for name in ("api", "third_party"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "buf.yaml", folder)
    loms = folder / "api/marketplace/loms/v1/loms.proto"
    text = loms.read_text()
    for said, instead in changes:
        assert said in text
        text = text.replace(said, instead)
    loms.write_text(text)
    baseline = folder / "baseline.binpb.gz"
    _buf("build", "api", "--exclude-source-info", "-o", str(baseline), cwd=folder)
    return baseline


def test_make_breaking_finds_a_removed_field_and_a_tightened_rule(tmp_path: Path) -> None:
    message = "message StocksInfoResponse {"
    field = f"{message}\n  // How many were asked for.\n  uint32 asked = 15;"
    found = _make_breaking(_baseline(tmp_path, ("lte: 65535", "lte: 70000"), (message, field)))

    assert found.returncode != 0
    assert 'Previously present field "15" with name "asked" on message "StocksInfoResponse" was deleted' in found.stdout
    tightened = "marketplace.loms.v1.OrderItem.count: request rule tightened: lte 70000 → lte 65535"
    assert f"api/marketplace/loms/v1/loms.proto: {tightened}\n" in found.stdout


def test_make_breaking_finds_an_idempotency_level_that_is_taken_away(tmp_path: Path) -> None:
    """`buf breaking` does, as it does for any other change of it."""
    rpc = "rpc OrderCreate(OrderCreateRequest) returns (OrderCreateResponse) {"
    level = f"{rpc}\n    option idempotency_level = IDEMPOTENT;"
    found = _make_breaking(_baseline(tmp_path, (rpc, level), ('idempotency_key: "request_id"', "")))

    assert found.returncode != 0
    changed = 'changed option "idempotency_level" from "IDEMPOTENT" to "IDEMPOTENCY_UNKNOWN"'
    assert f'RPC "OrderCreate" on service "LomsService" {changed}' in found.stdout


def test_the_baseline_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.binpb.gz" for name in ("one", "other")]
    for path in paths:
        _buf("build", "api", "--exclude-source-info", "-o", str(path))
        os.utime(path, (0, 0))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(BASELINE.read_bytes())).file
    assert "marketplace/loms/v1/events.proto" in {file.name for file in files}
    assert not any(file.HasField("source_code_info") for file in files)
