"""An event of LOMS travels as its contract says."""

import uuid

import pytest
from chassis.v1 import options_pb2 as options
from google.protobuf.json_format import ParseDict
from marketplace.loms.v1.events_pb2 import OrderEvent, OrderEventHeaders

from services.chassis import event_json
from services.chassis.bus import InProcessTopic
from services.chassis.rules import check_rules
from services.loms.events import to_message
from services.loms.usecases import Status, StatusChanged
from services.notifier.events import to_notification
from tests.clock import FakeClock

POLICY = OrderEvent.DESCRIPTOR.GetOptions().Extensions[options.event]


def changed(status: Status) -> StatusChanged:
    return StatusChanged(1, uuid.uuid4(), 5, 3, 7, status, FakeClock()())


@pytest.mark.parametrize("status", Status)
def test_the_value_and_the_headers_keep_the_rules_and_the_notifier_takes_them(status: Status) -> None:
    message = to_message(changed(status))

    check_rules(event_json.decode(OrderEvent, message.value))
    headers = {name.replace("-", "_"): value.decode() for name, value in message.headers}
    assert set(headers) == set(OrderEventHeaders.DESCRIPTOR.fields_by_name)
    check_rules(ParseDict(headers, OrderEventHeaders()))
    assert to_notification(message).status == status


def test_the_headers_are_those_that_the_event_names() -> None:
    assert POLICY.headers == OrderEventHeaders.DESCRIPTOR.full_name


def test_the_key_is_the_field_that_the_event_names() -> None:
    message = to_message(changed(Status.NEW))

    assert message.key == str(getattr(event_json.decode(OrderEvent, message.value), POLICY.key)).encode()


def test_the_topic_has_as_many_partitions_as_the_event_names() -> None:
    assert len(InProcessTopic()._partitions) == POLICY.partitions
