"""The policies of a contract: which mistakes are found in small ones, and how they and ours are shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from codegen.descriptors import Contract
from codegen.policy.checks import findings
from codegen.policy.table import table
from tests.unit.codegen.compiled import ROOT, compiled, contract, request

_DEADLINE = "deadline: {default: {seconds: 5} max: {seconds: 30}}"
_POLICY = f"access: ACCESS_TOKEN max_concurrent: 10 {_DEADLINE}"
_OWN_USER = _POLICY.replace("ACCESS_TOKEN", "ACCESS_OWN_USER")
_BACKOFF = "initial_backoff: {seconds: 1} max_backoff: {seconds: 2}"
_RETRY = f"retry: {{attempts: 3 codes: [CODE_UNAVAILABLE] {_BACKOFF}}}"
_KEY = 'idempotency_key: "key"'
_LIMIT = "rate_limit: {per_second: 10 burst: 5 scope: SCOPE_SHARED}"
_CACHE = "cache: {time_to_live: {seconds: 60} stale_time: {seconds: 600}}"
_ERROR = 'errors: {code: CODE_NOT_FOUND reason: "NOT_HERE_2" description: "It is gone."}'

_IDEMPOTENT = "option idempotency_level = IDEMPOTENT;"
_NO_SIDE_EFFECTS = "option idempotency_level = NO_SIDE_EFFECTS;"

_MESSAGES = """
    message In {
      int64 user = 1;
      repeated int64 users = 2;
      string name = 3;
      bool flag = 4;
      optional string key = 5 [(buf.validate.field).string.uuid = true];
      optional string ruleless = 6;
      optional string short = 7 [(buf.validate.field).string.max_len = 5];
      string implicit = 8 [(buf.validate.field).string.uuid = true];
      repeated string keys = 9 [(buf.validate.field).repeated.items.string.uuid = true];
      optional bytes raw = 10;
    }
    message Out { int64 n = 1; }
    message Nothing {}
"""


def _rpc(policy: str, level: str = "", answer: str = "Out") -> str:
    """A contract of one RPC with this policy and this idempotency_level."""
    option = f"option (chassis.v1.method) = {{{policy}}};"
    return f"service S {{ rpc Do(In) returns ({answer}) {{ {level} {option} }} }} {_MESSAGES}"


def _found(source: str, folder: Path | None = None) -> list[str]:
    """The mistakes, without the name of the file and the RPC."""
    found = [str(each) for each in findings(contract(source, folder))]
    assert all(each.startswith("api/test.proto: test.v1.S.Do: ") for each in found)
    return [each.removeprefix("api/test.proto: test.v1.S.Do: ") for each in found]


@pytest.mark.parametrize(
    "source",
    [
        _rpc(_POLICY),
        _rpc(f'{_OWN_USER} user_field: "user"'),
        _rpc(_POLICY.replace("seconds: 30", "seconds: 5")),
        _rpc(f"{_POLICY} {_KEY} {_RETRY}"),
        _rpc(f"{_POLICY} {_RETRY}", _IDEMPOTENT),
        _rpc(f"{_POLICY} {_RETRY} {_LIMIT} {_CACHE}", _NO_SIDE_EFFECTS),
        _rpc(f"{_POLICY} {_CACHE}".replace("ACCESS_TOKEN", "ACCESS_PUBLIC"), _NO_SIDE_EFFECTS),
        _rpc(f"{_POLICY} {_RETRY}".replace("attempts: 3", "attempts: 2"), _IDEMPOTENT),
        _rpc(
            f"{_POLICY} {_RETRY}".replace("attempts: 3", "attempts: 5").replace("{seconds: 2}", "{seconds: 1}"),
            _IDEMPOTENT,
        ),
        _rpc(
            f"{_POLICY} {_RETRY}".replace("[CODE_UNAVAILABLE]", "[CODE_RESOURCE_EXHAUSTED, CODE_DEADLINE_EXCEEDED]"),
            _IDEMPOTENT,
        ),
        _rpc(f"{_POLICY} {_LIMIT}".replace("burst: 5", "burst: 10")),
        _rpc(f"{_POLICY} {_ERROR} {_ERROR.replace('NOT_FOUND', 'ABORTED')} {_ERROR.replace('_2', '')}"),
        *(_rpc(f"{_POLICY} success_status: {status}") for status in (200, 201, 202)),
        _rpc(f"{_POLICY} success_status: 204", answer="Nothing"),
    ],
)
def test_a_policy_without_a_mistake_passes(source: str) -> None:
    assert _found(source) == []


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (_POLICY.replace("access: ACCESS_TOKEN", ""), "access: is missing"),
        (_POLICY.replace("ACCESS_TOKEN", "ACCESS_UNSPECIFIED"), "access: is missing"),
        (_POLICY.replace(_DEADLINE, ""), "deadline: is missing"),
        (_POLICY.replace("default: {seconds: 5}", ""), "deadline: needs 0 < default <= max"),
        (_POLICY.replace("seconds: 5", "seconds: -5"), "deadline: needs 0 < default <= max"),
        (_POLICY.replace("seconds: 5", "seconds: 31"), "deadline: needs 0 < default <= max"),
        (_POLICY.replace("max: {seconds: 30}", ""), "deadline: needs 0 < default <= max"),
        (_POLICY.replace("max_concurrent: 10", ""), "max_concurrent: is missing"),
        (_POLICY.replace("max_concurrent: 10", "max_concurrent: 0"), "max_concurrent: is missing"),
    ],
)
def test_what_every_rpc_has_to_say_is_missed(policy: str, text: str) -> None:
    assert _found(_rpc(policy)) == [text]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (_OWN_USER, "user_field: is missing, and access is ACCESS_OWN_USER"),
        (f'{_POLICY} user_field: "user"', "user_field: is set, and access is not ACCESS_OWN_USER"),
        *(
            (f'{_OWN_USER} user_field: "{name}"', f"user_field: {name} is no integer field of In")
            for name in ("gone", "name", "users", "flag", "raw")
        ),
    ],
)
def test_the_field_of_the_user_is_an_integer_where_the_access_needs_it(policy: str, text: str) -> None:
    assert _found(_rpc(policy)) == [text]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("gone", ["idempotency_key: gone is no string field of In"]),
        ("user", ["idempotency_key: user is no string field of In"]),
        ("raw", ["idempotency_key: raw is no string field of In"]),
        ("keys", ["idempotency_key: keys is no string field of In"]),
        ("ruleless", ["idempotency_key: ruleless has no rule string.uuid"]),
        ("short", ["idempotency_key: short has no rule string.uuid"]),
        ("implicit", ["idempotency_key: implicit is not optional, so that nobody can tell whether it is given"]),
    ],
)
def test_an_idempotency_key_is_an_optional_uuid(name: str, texts: list[str]) -> None:
    assert _found(_rpc(f'{_POLICY} idempotency_key: "{name}"')) == texts


@pytest.mark.parametrize("level", ["IDEMPOTENT", "NO_SIDE_EFFECTS"])
def test_what_is_safe_to_repeat_anyway_has_no_key(level: str) -> None:
    found = _found(_rpc(f"{_POLICY} {_KEY}", f"option idempotency_level = {level};"))

    assert found == [f"idempotency_key: is set, and idempotency_level is {level}"]


def test_only_what_is_safe_to_repeat_is_retried() -> None:
    text = "retry: is set, and there is neither idempotency_level nor idempotency_key"

    assert _found(_rpc(f"{_POLICY} {_RETRY}")) == [text]
    unknown = "option idempotency_level = IDEMPOTENCY_UNKNOWN;"
    assert _found(_rpc(f"{_POLICY} {_RETRY}", unknown)) == [text]


_NO_BACKOFF = "retry: needs 0 < initial_backoff <= max_backoff"


@pytest.mark.parametrize(
    ("said", "instead", "text"),
    [
        ("attempts: 3", "", "retry.attempts: 0 is not 2 to 5"),
        ("attempts: 3", "attempts: 1", "retry.attempts: 1 is not 2 to 5"),
        ("attempts: 3", "attempts: 6", "retry.attempts: 6 is not 2 to 5"),
        ("codes: [CODE_UNAVAILABLE]", "", "retry.codes: is missing"),
        ("initial_backoff: {seconds: 1}", "", _NO_BACKOFF),
        ("initial_backoff: {seconds: 1}", "initial_backoff: {seconds: -1}", _NO_BACKOFF),
        ("initial_backoff: {seconds: 1}", "initial_backoff: {seconds: 2 nanos: 1}", _NO_BACKOFF),
        ("max_backoff: {seconds: 2}", "", _NO_BACKOFF),
        ("attempts: 3", "attempts: 4", "retry: pauses of up to 5s do not fit into the default deadline of 5s"),
        (
            _BACKOFF,
            "initial_backoff: {seconds: 3} max_backoff: {seconds: 9}",
            "retry: pauses of up to 9s do not fit into the default deadline of 5s",
        ),
    ],
)
def test_a_retry_has_a_number_codes_and_pauses_that_fit(said: str, instead: str, text: str) -> None:
    assert said in _RETRY
    assert _found(_rpc(f"{_POLICY} {_RETRY.replace(said, instead)}", _IDEMPOTENT)) == [text]


def test_pauses_are_not_compared_with_a_deadline_that_is_missing() -> None:
    policy = f"{_POLICY.replace(_DEADLINE, '')} {_RETRY}"

    assert _found(_rpc(policy, _IDEMPOTENT)) == ["deadline: is missing"]


_NEVER_PASS = (
    "UNSPECIFIED", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


@pytest.mark.parametrize("code", _NEVER_PASS)
def test_an_error_that_does_not_pass_by_itself_is_not_retried(code: str) -> None:
    retry = _RETRY.replace("[CODE_UNAVAILABLE]", f"[CODE_UNAVAILABLE, CODE_{code}]")

    assert _found(_rpc(f"{_POLICY} {retry}", _IDEMPOTENT)) == [
        f"retry.codes: {code} is none of DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE"
    ]


@pytest.mark.parametrize(
    ("said", "instead", "text"),
    [
        ("per_second: 10", "", "rate_limit.per_second: is missing"),
        ("burst: 5", "", "rate_limit.burst: is missing"),
        ("burst: 5", "burst: 4", "rate_limit.burst: 4 does not divide 10"),
        ("burst: 5", "burst: 20", "rate_limit.burst: 20 does not divide 10"),
        ("scope: SCOPE_SHARED", "", "rate_limit.scope: is missing"),
        ("SCOPE_SHARED", "SCOPE_UNSPECIFIED", "rate_limit.scope: is missing"),
    ],
)
def test_a_rate_limit_has_a_rate_a_burst_that_divides_it_and_a_scope(said: str, instead: str, text: str) -> None:
    assert said in _LIMIT
    assert _found(_rpc(f"{_POLICY} {_LIMIT.replace(said, instead)}")) == [text]


@pytest.mark.parametrize("level", ["", _IDEMPOTENT])
def test_an_answer_is_kept_only_if_asking_changes_nothing(level: str) -> None:
    assert _found(_rpc(f"{_POLICY} {_CACHE}", level)) == ["cache: is set, and idempotency_level is not NO_SIDE_EFFECTS"]


@pytest.mark.parametrize("policy", [f'{_OWN_USER} user_field: "user"', _POLICY.replace("TOKEN", "OWNER")])
def test_an_answer_that_depends_on_the_caller_is_not_kept(policy: str) -> None:
    access = policy.split()[1]

    assert _found(_rpc(f"{policy} {_CACHE}", _NO_SIDE_EFFECTS)) == [
        f"cache: is set, and with {access} the answer depends on the caller"
    ]


@pytest.mark.parametrize(
    ("said", "instead", "text"),
    [
        ("time_to_live: {seconds: 60}", "", "cache.time_to_live: is not above 0"),
        ("seconds: 60}", "seconds: 0}", "cache.time_to_live: is not above 0"),
        ("seconds: 60}", "seconds: -60}", "cache.time_to_live: is not above 0"),
        ("seconds: 600}", "seconds: -600}", "cache.stale_time: is below 0"),
    ],
)
def test_an_answer_is_kept_for_some_time(said: str, instead: str, text: str) -> None:
    assert said in _CACHE
    assert _found(_rpc(f"{_POLICY} {_CACHE.replace(said, instead)}", _NO_SIDE_EFFECTS)) == [text]


@pytest.mark.parametrize("status", [100, 203, 206, 301, 404])
def test_a_success_has_one_of_four_statuses(status: int) -> None:
    text = f"success_status: {status} is none of 200, 201, 202, 204"

    assert _found(_rpc(f"{_POLICY} success_status: {status}")) == [text]


def test_an_answer_with_fields_has_a_body() -> None:
    assert _found(_rpc(f"{_POLICY} success_status: 204")) == ["success_status: 204 has no body, and Out has fields"]


@pytest.mark.parametrize(
    ("errors", "texts"),
    [
        (_ERROR * 2, ["errors: NOT_FOUND NOT_HERE_2: is listed 2 times"]),
        (f"{_ERROR} {_ERROR.replace('gone', 'here')}", ["errors: NOT_FOUND NOT_HERE_2: is listed 2 times"]),
        (_ERROR.replace("code: CODE_NOT_FOUND", ""), ["errors: UNSPECIFIED NOT_HERE_2: has no code"]),
        (_ERROR.replace("NOT_FOUND", "UNSPECIFIED"), ["errors: UNSPECIFIED NOT_HERE_2: has no code"]),
        *(
            (
                _ERROR.replace("NOT_HERE_2", reason),
                [f"errors: NOT_FOUND {reason}: its reason is not in UPPER_SNAKE_CASE"],
            )
            for reason in ("", "NotHere", "not_here", "NOT-HERE", "_NOT_HERE", "NOT__HERE", "NOT_HERE_", "2_NOT", "ÄÖ")
        ),
    ],
)
def test_an_error_is_listed_once_with_a_code_and_a_reason_in_capitals(errors: str, texts: list[str]) -> None:
    assert _found(_rpc(f"{_POLICY} {errors}")) == texts


_OPTIONS = (ROOT / "api/chassis/v1/options.proto").read_text()


def _options(folder: Path, *changes: tuple[str, str]) -> Path:
    """A folder with other options than ours."""
    text = _OPTIONS
    for said, instead in changes:
        assert text.count(said) == 1, said
        text = text.replace(said, instead)
    path = folder / "chassis/v1/options.proto"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder


@pytest.mark.parametrize("instead", ["CODE_NOT_FOUND = 5;", "CODE_NOT_FOUND = 5 [(code) = {http_status: 0}];"])
def test_the_code_of_an_error_has_an_http_status(tmp_path: Path, instead: str) -> None:
    folder = _options(tmp_path, ("CODE_NOT_FOUND = 5 [(code) = {http_status: 404}];", instead))

    assert _found(_rpc(f"{_POLICY} {_ERROR}"), folder) == ["errors: NOT_FOUND NOT_HERE_2: its code has no HTTP status"]


def test_an_rpc_without_a_policy_is_found() -> None:
    bare = f"service S {{ rpc Do(In) returns (Out); }} {_MESSAGES}"
    assert _found(bare) == ["(chassis.v1.method): is missing"]
    other = _rpc(_POLICY).replace("service S {", "service S { rpc Bare(In) returns (Out);")
    assert [str(each) for each in findings(contract(other))] == [
        "api/test.proto: test.v1.S.Bare: (chassis.v1.method): is missing"
    ]


_NEWER = (
    ("uint32 max_concurrent = 10;", "uint32 max_concurrent = 10; uint32 priority = 77;"),
    ("uint32 attempts = 1;", "uint32 attempts = 1; bool hedged = 78;"),
    ("string description = 3;", "string description = 3; string link = 79;"),
    ("SCOPE_SHARED = 2;", "SCOPE_SHARED = 2; SCOPE_CALLER = 80;"),
    ("MethodPolicy method = 50001;", "MethodPolicy method = 50001; bool traced = 50081;"),
)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (f"{_POLICY} priority: 1", "(chassis.v1.method).77: is not known"),
        (
            f"{_POLICY} {_RETRY.replace('attempts: 3', 'attempts: 3 hedged: true')}",
            "(chassis.v1.method).retry.78: is not known",
        ),
        (
            f"{_POLICY} {_ERROR.replace('description', 'link')}",
            "(chassis.v1.method).errors.79: is not known",
        ),
        (
            f"{_POLICY} {_LIMIT.replace('SHARED', 'CALLER')}",
            "(chassis.v1.method).rate_limit.scope = 80: is not known",
        ),
    ],
)
def test_what_nothing_defines_is_found_in_a_policy(tmp_path: Path, policy: str, text: str) -> None:
    assert _found_by_older(_rpc(policy, _IDEMPOTENT), tmp_path) == [f"api/test.proto: test.v1.S.Do: {text}"]


def test_an_option_beside_the_policy_that_nothing_defines_is_found(tmp_path: Path) -> None:
    source = _rpc(_POLICY, "option (chassis.v1.traced) = true;")

    assert _found_by_older(source, tmp_path) == ["api/test.proto: test.v1.S.Do: 50081: is not known"]


def _found_by_older(source: str, folder: Path) -> list[str]:
    """The mistakes in a contract that was built with newer options than those that it is checked with."""
    built = request(source, _options(folder, *_NEWER))
    ours = {file.name: file for file in compiled(["chassis/v1/options.proto"]).proto_file}
    files = [ours.get(file.name, file) for file in built.proto_file]
    checked = Contract(plugin_pb2.CodeGeneratorRequest(file_to_generate=["test.proto"], proto_file=files))
    return [str(each) for each in findings(checked)]


def test_every_mistake_is_found_by_file_and_rpc() -> None:
    bare = "rpc B(In) returns (Out); rpc A(In) returns (Out) { option (chassis.v1.method) = {}; }"

    assert [str(each) for each in findings(contract(f"service S {{ {bare} }} {_MESSAGES}"))] == [
        "api/test.proto: test.v1.S.A: access: is missing",
        "api/test.proto: test.v1.S.A: deadline: is missing",
        "api/test.proto: test.v1.S.A: max_concurrent: is missing",
        "api/test.proto: test.v1.S.B: (chassis.v1.method): is missing",
    ]


# The table


def _ours() -> Contract:
    api = ROOT / "api"
    return Contract(compiled([path.relative_to(api).as_posix() for path in sorted(api.rglob("*.proto"))]))


def _cells(text: str) -> dict[str, dict[str, str]]:
    """The cells of a table by RPC and head."""
    head, *lines = text.split("\n\n", maxsplit=1)[0].splitlines()
    starts = [match.span() for match in re.finditer(r"\S+(?: \S+)*\s*", head)]
    rows = [[line[start : end if end < len(head) else None].strip() for start, end in starts] for line in lines]
    heads = [head[start:end].strip() for start, end in starts]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def test_the_table_has_everything_that_a_policy_says() -> None:
    full = f"{_POLICY} {_RETRY} {_LIMIT} {_CACHE} success_status: 202 {_ERROR}".replace(
        "seconds: 600", "nanos: 500000000"
    )

    assert _cells(table(contract(_rpc(full, _NO_SIDE_EFFECTS)))) == {
        "S/Do": {
            "RPC": "S/Do",
            "access": "TOKEN",
            "deadline": "5/30 s",
            "idempotency": "NO_SIDE_EFFECTS",
            "retry": "3 on 503",
            "rate limit": "10/s, burst 5, shared",
            "cache": "60 + 0.5 s",
            "concurrent": "10",
            "success": "202",
            "errors": "404",
        }
    }


def test_the_table_has_a_dash_for_what_a_policy_does_not_say() -> None:
    cells = _cells(table(contract(_rpc(_POLICY))))["S/Do"]

    assert {head for head, cell in cells.items() if cell == "-"} == {
        "idempotency", "retry", "rate limit", "cache", "errors"
    }  # fmt: skip
    assert cells["success"] == "200"


@pytest.mark.parametrize(
    ("policy", "level", "text"),
    [(_POLICY, _IDEMPOTENT, "IDEMPOTENT"), (f"{_POLICY} {_KEY}", "", "by key")],
)
def test_the_table_tells_why_an_rpc_is_safe_to_repeat(policy: str, level: str, text: str) -> None:
    assert _cells(table(contract(_rpc(policy, level))))["S/Do"]["idempotency"] == text


def test_the_table_names_the_codes_behind_its_statuses() -> None:
    errors = f"{_ERROR} {_ERROR.replace('NOT_FOUND', 'ABORTED')}"
    text = table(contract(_rpc(f"{_POLICY} {errors} {_RETRY}", _IDEMPOTENT)))

    assert _cells(text)["S/Do"]["errors"] == "404 409"
    assert "Codes: 404 NOT_FOUND, 409 ABORTED, 503 UNAVAILABLE.\n" in text
    assert re.search("^Any RPC may end with: 400 INVALID_ARGUMENT, .*504 DEADLINE_EXCEEDED.$", text, re.MULTILINE)


def test_our_table_has_a_line_for_each_rpc_and_fits_into_160_columns() -> None:
    text = table(_ours())
    rpcs = [f"{service.name}/{method.name}" for service in _ours().services() for method in service.methods]

    assert list(_cells(text)) == rpcs
    assert len(rpcs) > 10
    assert max(map(len, text.splitlines())) <= 160


# The command


def _command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codegen.policy", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _image(source: str, path: Path) -> Path:
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=request(source).proto_file).SerializeToString())
    return path


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    found = _command(_image(_rpc(_POLICY), tmp_path / "image.binpb"))

    assert (found.stdout, found.returncode) == (table(contract(_rpc(_POLICY))), 0)


def test_the_check_prints_what_it_finds_and_ends_with_1(tmp_path: Path) -> None:
    found = _command("--check", _image(_rpc(f"{_POLICY} {_RETRY}"), tmp_path / "image.binpb"))
    text = "retry: is set, and there is neither idempotency_level nor idempotency_key"
    assert (found.stdout, found.returncode) == (f"api/test.proto: test.v1.S.Do: {text}\n", 1)

    found = _command("--check", _image(_rpc(_POLICY), tmp_path / "image.binpb"))
    assert (found.stdout, found.returncode) == ("", 0)


def test_the_command_ends_with_2_when_there_is_nothing_to_show(tmp_path: Path) -> None:
    found = _command(_image(f"service S {{ rpc Do(In) returns (Out); }} {_MESSAGES}", tmp_path / "image.binpb"))

    assert (found.stdout, found.returncode) == ("", 2)
    assert "test.v1.S.Do" in found.stderr


def _make(*arguments: str) -> str:
    """What make prints, without the set-up, which is there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--old-file", "setup/python", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_policy_prints_our_table() -> None:
    assert _make("policy") == table(_ours())


def test_make_lint_checks_our_policies() -> None:
    assert "buf build api --exclude-source-info -o - | .venv/bin/python -m codegen.policy --check /dev/stdin" in _make(
        "--dry-run", "lint"
    )
