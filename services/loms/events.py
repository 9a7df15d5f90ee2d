"""The way of an order's events: from the outbox of the storage to the topic."""

from marketplace.loms.v1.events_pb2 import OrderEvent

from services.chassis import event_json
from services.chassis.bus import Message, Publisher
from services.chassis.clock import timestamp
from services.loms.usecases import Outbox, StatusChanged

BATCH = 500


class Relay:
    """Sends what is in the outbox. An event is forgotten only after it was sent, so it may be sent twice."""

    def __init__(self, outbox: Outbox, publisher: Publisher) -> None:
        self._outbox = outbox
        self._publisher = publisher

    async def send_all(self) -> None:
        while events := await self._outbox.unsent(BATCH):
            await self._publisher.publish([to_message(event) for event in events])
            await self._outbox.sent(events)


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
        ),
    )
