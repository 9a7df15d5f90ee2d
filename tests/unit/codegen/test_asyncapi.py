"""The document of the events: what small contracts become, and that ours says what the services send."""

import inspect
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from marketplace.loms.v1.events_pb2 import OrderEvent, OrderEventHeaders

from codegen.asyncapi.__main__ import generate
from codegen.asyncapi.document import document
from codegen.descriptors import ContractError
from services.chassis import event_json
from services.chassis.bus import InProcessTopic
from services.loms.events import to_message
from services.loms.usecases import Status, StatusChanged
from tests.unit.codegen.compiled import ROOT, compiled, contract, request

SPECIFICATION = ROOT / "swagger-ui/node_modules/@asyncapi/specs/schemas/3.0.0.json"
_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_900, UTC)
_EVENT = 'option (chassis.v1.event) = {topic: "t" partitions: 2 key: "id"};'
_MESSAGE = f"message M {{ {_EVENT} int64 id = 1; }}"


@cache
def _ours() -> Any:
    return json.loads((ROOT / "gen/asyncapi/asyncapi.json").read_text())


def _payload(source: str) -> Any:
    return document(contract(source))["components"]["schemas"]["M"]


def _is_right(schema: Any, instance: object) -> bool:
    return bool(Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).is_valid(instance))


# Of any contract


def test_an_event_is_a_message_in_the_channel_of_its_topic() -> None:
    found = document(contract(f"// It happened.\n{_MESSAGE}"))
    channel = found["channels"]["t"]
    assert channel["address"] == "t"
    assert channel["bindings"]["kafka"]["partitions"] == 2
    assert channel["messages"] == {"M": {"$ref": "#/components/messages/M"}}
    assert found["operations"]["sendM"]["channel"] == {"$ref": "#/channels/t"}
    message = found["components"]["messages"]["M"]
    assert message["description"] == "It happened."
    assert message["payload"] == {"$ref": "#/components/schemas/M"}
    assert "headers" not in message


def test_a_message_without_the_option_is_no_event() -> None:
    found = document(contract(f"{_MESSAGE} message Other {{ int64 id = 1; }}"))
    assert list(found["components"]["messages"]) == ["M"]


def test_events_may_share_a_topic() -> None:
    found = document(contract(f"{_MESSAGE} {_MESSAGE.replace('message M', 'message N')}"))
    assert list(found["channels"]) == ["t"]
    assert list(found["channels"]["t"]["messages"]) == ["M", "N"]


def test_the_payload_has_every_field_under_the_name_of_the_proto_and_nothing_else() -> None:
    schema = _payload(f"message M {{ {_EVENT} int64 id = 1; optional string last_name = 2; }}")
    assert list(schema["properties"]) == ["id", "last_name"]
    assert schema["required"] == ["id", "last_name"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["last_name"] == {"type": "string"}


def test_a_64_bit_integer_is_a_number_with_its_rules() -> None:
    schema = _payload(f"message M {{ {_EVENT} uint64 id = 1 [(buf.validate.field).uint64 = {{gt: 0, not_in: [7]}}]; }}")
    assert schema["properties"]["id"] == {
        "type": "integer",
        "format": "uint64",
        "minimum": 1,
        "maximum": 2**64 - 1,
        "not": {"enum": [7]},
    }


def test_a_time_has_milliseconds_and_is_in_utc() -> None:
    schema = _payload(f"message M {{ {_EVENT} int64 id = 1; google.protobuf.Timestamp at = 2; }}")["properties"]["at"]
    assert _is_right(schema, "2026-01-02T03:04:05.678Z")
    for other in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678900Z", "2026-01-02T03:04:05.678+00:00", None):
        assert not _is_right(schema, other)


def test_a_rule_that_json_schema_cannot_say_is_named() -> None:
    schema = _payload(f'message M {{ {_EVENT} int64 id = 1 [(buf.validate.field).cel_expression = "this % 2 == 1"]; }}')
    assert schema["properties"]["id"]["x-buf-validate"] == ["this % 2 == 1"]


def test_key_and_headers_are_texts_with_the_rules_of_their_fields() -> None:
    source = """
        message M {
          option (chassis.v1.event) = {topic: "t" partitions: 2 key: "id" headers: "test.v1.H"};
          int64 id = 1 [(buf.validate.field).int64 = {gte: 5, lte: 17}];
        }
        message H { uint32 event_place = 1 [(buf.validate.field).uint32.lt = 10]; string name = 2; }
    """
    message = document(contract(source))["components"]["messages"]["M"]
    assert message["bindings"]["kafka"]["key"] == {"type": "string", "pattern": "^(?:[5-9]|1[0-7])$"}
    assert message["headers"] == {
        "type": "object",
        "properties": {"event-place": {"type": "string", "pattern": "^(?:0|[1-9])$"}, "name": {"type": "string"}},
        "required": ["event-place", "name"],
    }


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (_MESSAGE.replace('topic: "t"', ""), r"test\.v1\.M: .* needs a topic"),
        (_MESSAGE.replace("partitions: 2", ""), r"test\.v1\.M: .* needs a topic and its partitions"),
        (_MESSAGE.replace('key: "id"', ""), r"test\.v1\.M: .* no field ``"),
        (_MESSAGE.replace('key: "id"', 'key: "id" headers: "test.v1.H"'), r"test\.v1\.M: .* no message test\.v1\.H"),
        (_MESSAGE.replace("int64 id", "bytes id"), r"test\.v1\.M\.id: only integers, strings and timestamps"),
        (_MESSAGE.replace("int64 id", "repeated int64 id"), r"test\.v1\.M\.id: only integers, strings and timestamps"),
        (_MESSAGE.replace("int64 id", "google.protobuf.Duration id"), r"test\.v1\.M\.id: only integers, strings"),
        (_MESSAGE.replace("int64 id", "google.protobuf.Timestamp id"), r"test\.v1\.M\.id: only integers and strings"),
        (_MESSAGE.replace("int64 id = 1;", "oneof one { int64 id = 1; }"), r"test\.v1\.M: .* no oneof"),
        (
            _MESSAGE.replace('key: "id"', 'key: "id" headers: "test.v1.H"') + "message H { bool a = 1; }",
            r"test\.v1\.H\.a: only integers and strings",
        ),
        (
            _MESSAGE + _MESSAGE.replace("message M", "message N").replace("partitions: 2", "partitions: 3"),
            r"test\.v1\.N: another event says t has other partitions",
        ),
    ],
)
def test_what_codec_or_broker_cannot_carry_is_an_error_that_names_it(source: str, text: str) -> None:
    with pytest.raises(ContractError, match=text):
        document(contract(source))


def test_the_plugin_answers_with_the_error_of_the_contract() -> None:
    response = generate(request(_MESSAGE.replace("int64 id", "bytes id")))
    assert response.error.startswith("test.v1.M.id: ")
    assert not response.file


# Ours


def test_our_document_is_what_the_contract_produces() -> None:
    api = ROOT / "api"
    response = generate(compiled(sorted(path.relative_to(api).as_posix() for path in api.rglob("*.proto"))))
    assert [file.name for file in response.file] == ["asyncapi.json"]
    assert json.loads(response.file[0].content) == _ours()


def test_our_document_is_right_by_the_specification() -> None:
    validator = Draft7Validator(json.loads(SPECIFICATION.read_text()))
    assert [error.message for error in validator.iter_errors(_ours())] == []
    broken = {**_ours(), "channels": {"loms.order-events": {"adress": "loms.order-events"}}}
    assert not validator.is_valid(broken)


def test_every_reference_of_our_document_leads_somewhere() -> None:
    references = _references(_ours())
    assert len(references) >= 4
    for reference in references:
        found = _ours()
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for part in value for found in _references(part)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + [found for part in value.values() for found in _references(part)]


def _sent(**others: Any) -> StatusChanged:
    event: dict[str, Any] = {
        "id": 1,
        "event_id": uuid4(),
        "order_id": 5,
        "sequence": 1,
        "user_id": 42,
        "status": Status.NEW,
        "moment": _MOMENT,
    }
    return StatusChanged(**{**event, **others})


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("number", [1, 2**63 - 1])
def test_what_loms_sends_keeps_to_our_document(status: Status, number: int) -> None:
    sent = to_message(_sent(status=status, order_id=number, user_id=number, sequence=number))
    (message,) = _ours()["components"]["messages"].values()
    headers = {name: value.decode() for name, value in sent.headers}
    assert _is_right(_ours()["components"]["schemas"]["OrderEvent"], json.loads(sent.value))
    assert _is_right(message["headers"], headers)
    assert _is_right(message["bindings"]["kafka"]["key"], sent.key.decode())
    assert headers.keys() == message["headers"]["properties"].keys()


@pytest.mark.parametrize(
    "moment",
    [
        _MOMENT,
        _MOMENT.replace(microsecond=0),
        _MOMENT.replace(microsecond=999_999),
        _MOMENT - timedelta(days=365 * 500),
    ],
)
def test_any_event_that_the_codec_writes_fits_the_payload(moment: datetime) -> None:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    event = OrderEvent(order_id=7, status="payed", moment=timestamp)
    assert _is_right(_ours()["components"]["schemas"]["OrderEvent"], json.loads(event_json.encode(event)))


@pytest.mark.parametrize(
    "change",
    [
        {"order_id": "5"},
        {"order_id": 0},
        {"order_id": 2**63},
        {"order_id": None},
        {"status": "NEW"},
        {"status": ""},
        {"moment": "2026-01-02T03:04:05Z"},
        {"moment": "2026-01-02T03:04:05.6789Z"},
        {"moment": "2026-01-02 03:04:05.678Z"},
        {"moment": 1767323045},
        {"more": 1},
    ],
)
def test_an_event_that_was_changed_does_not_fit(change: dict[str, Any]) -> None:
    schema = _ours()["components"]["schemas"]["OrderEvent"]
    event = json.loads(to_message(_sent()).value)
    assert _is_right(schema, event)
    assert not _is_right(schema, {**event, **change})


@pytest.mark.parametrize("name", ["order_id", "status", "moment"])
def test_an_event_without_one_of_its_fields_does_not_fit(name: str) -> None:
    event = json.loads(to_message(_sent()).value)
    del event[name]
    assert not _is_right(_ours()["components"]["schemas"]["OrderEvent"], event)


@pytest.mark.parametrize(
    ("name", "value"), [("event-id", "5"), ("sequence", "0"), ("sequence", "01"), ("user-id", "-1"), ("user-id", None)]
)
def test_a_header_that_breaks_its_rule_does_not_fit(name: str, value: str | None) -> None:
    (message,) = _ours()["components"]["messages"].values()
    headers = {each: content.decode() for each, content in to_message(_sent()).headers}
    assert not _is_right(message["headers"], {**headers, name: value})
    del headers[name]
    assert not _is_right(message["headers"], headers)


def test_the_headers_have_the_names_of_the_contract() -> None:
    names = [name for name, _ in to_message(_sent()).headers]
    assert [field.name.replace("_", "-") for field in OrderEventHeaders.DESCRIPTOR.fields] == names


def test_the_in_process_topic_has_the_partitions_of_the_contract() -> None:
    partitions = inspect.signature(InProcessTopic).parameters["partitions"].default
    assert [channel["bindings"]["kafka"]["partitions"] for channel in _ours()["channels"].values()] == [partitions]
    assert list(_ours()["channels"]) == ["loms.order-events"]
