"""The events of orders, as LOMS sends them."""

from marketplace.loms.v1.events_pb2 import OrderEvent

from services.chassis import event_json
from services.chassis.bus import Message
from services.chassis.clock import timestamp
from services.loms.usecases import StatusChanged


def to_message(event: StatusChanged) -> Message:
    """The event as it travels: what the contract says in the value, the rest in the headers."""
    value = OrderEvent(order_id=event.order_id, status=event.status, moment=timestamp(event.moment))
    return Message(
        key=str(event.order_id).encode(),
        value=event_json.encode(value),
        headers=(
            ("event-id", str(event.event_id).encode()),
            ("sequence", str(event.sequence).encode()),
            ("user-id", str(event.user_id).encode()),
            *((("traceparent", event.traceparent.encode()),) if event.traceparent else ()),
        ),
    )
