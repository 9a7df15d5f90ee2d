"""The events of orders, as the notifier reads them."""

from datetime import UTC

from marketplace.loms.v1.events_pb2 import OrderEvent

from services.chassis import event_json
from services.chassis.bus import Message
from services.chassis.rules import check_rules
from services.notifier.usecases import Notification


def to_notification(message: Message) -> Notification:
    """The notification that an event asks for. Raises EventError or BrokenRulesError when it breaks the contract."""
    event = event_json.decode(OrderEvent, message.value)
    check_rules(event)
    sequence = dict(message.headers).get("sequence", b"")
    if not sequence.isdigit():
        raise event_json.EventError("the header `sequence` is not a number")
    return Notification(event.order_id, int(sequence), event.status, event.moment.ToDatetime(UTC))
