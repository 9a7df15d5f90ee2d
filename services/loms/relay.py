"""The way of an order's events: from the outbox of the storage to the topic."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from services.chassis.bus import Publisher
from services.chassis.errors import AppError
from services.chassis.log import Logger
from services.chassis.metrics import OUTBOX_EVENTS, OUTBOX_OLDEST
from services.loms.events import to_message
from services.loms.usecases import Backlog, Outbox

BATCH = 500
GATHER_SECONDS = 0.01
"""How long events are gathered before they are sent: a batch costs hardly more than an event."""
FLUSH_SECONDS = 4
RESIGN_SECONDS = 1
LEASE_SECONDS = 3
"""How long a relay leads without saying so again: longer than a pause of its process should be."""
LEAD_INTERVAL_SECONDS = 0.5
"""How often it has to ask for the lead."""
MEASURE_INTERVAL_SECONDS = 2
"""How often it looks how much there is to send."""
MARGIN_SECONDS = 1
"""What is left of a lease when its holder sends no more: time enough for what was just sent to arrive."""


class Relay:
    """Sends what is in the outbox. Of all that share an outbox one leads, and only that one sends.

    An event is forgotten only after it was sent, so it may be sent twice. A relay that
    stood still for longer than its lease may send once more what another one has sent
    since. Within an order nothing new is ever sent out of order.
    """

    def __init__(self, outbox: Outbox, publisher: Publisher, interval_seconds: float, log: Logger) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._interval_seconds = interval_seconds
        self._log = log
        self._id = uuid4()
        self._leads_until = 0.0
        self._led = False
        self._backlog: Backlog | None = None

    async def lead(self) -> None:
        """Takes the lead, if nobody has it, or keeps it."""
        asked = time.monotonic()
        leads = await self._outbox.lead(self._id, LEASE_SECONDS)
        if leads != self._led:
            self._log.info("relay leads" if leads else "relay follows")
        self._led = leads
        self._leads_until = asked + LEASE_SECONDS - MARGIN_SECONDS if leads else 0.0

    async def measure(self) -> None:
        """Finds out how much there is to send, if it is the one that sends."""
        self._backlog = await self._outbox.backlog() if self._leads() else None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Tells, while the block runs, how much there was to send when it was last measured."""
        with (
            OUTBOX_EVENTS.source(lambda: {(): self._backlog.events} if self._backlog else {}),
            OUTBOX_OLDEST.source(lambda: {(): self._backlog.oldest_seconds} if self._backlog else {}),
        ):
            yield

    async def stop(self) -> None:
        """Sends what is left, if the topic takes it, and leaves the lead to another one."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.send_all()
        except (AppError, TimeoutError) as error:
            self._log.warning("events left for the next relay", error=str(error))
        self._leads_until = 0.0
        try:
            async with asyncio.timeout(RESIGN_SECONDS):
                await self._outbox.resign(self._id)
        except (AppError, TimeoutError) as error:
            self._log.warning("the lead ends by itself", error=str(error))

    async def run(self) -> None:
        """Sends events as they come, until cancelled."""
        while True:
            try:
                await self.send_all()
                await self._outbox.changed(self._interval_seconds)
                await asyncio.sleep(GATHER_SECONDS)
                continue
            except AppError as error:
                self._log.warning("events not sent", error=str(error))
            except Exception:  # noqa: BLE001  it is logged, and the next attempt may be better
                self._log.exception("events not sent")
            await asyncio.sleep(self._interval_seconds)

    async def send_all(self) -> None:
        """Sends until nothing is left, as long as it leads."""
        while self._leads() and (events := await self._outbox.unsent(BATCH)):
            if not self._leads():
                return
            await self._publisher.publish([to_message(event) for event in events])
            await self._outbox.sent(events)

    def _leads(self) -> bool:
        return time.monotonic() < self._leads_until
