"""LOMS as a process: `python -m services.loms`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc
from marketplace.loms.v1.events_pb2 import OrderEvent
from pydantic_settings import SettingsConfigDict

from services.chassis.background import background, every
from services.chassis.bell import SharedBell
from services.chassis.bus import InProcessTopic, ObservedPublisher, Publisher
from services.chassis.clock import Clock, utc_now
from services.chassis.contract import event
from services.chassis.kafka import KafkaPublisher, KafkaTopic
from services.chassis.lifecycle import main
from services.chassis.log import Logger, get_logger
from services.chassis.migrations import migrated_database
from services.chassis.replica import reads
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, Bootstrap, Duration, ReplicatedSettings
from services.loms.memory import MemoryStorage
from services.loms.postgres import PostgresStorage
from services.loms.relay import LEAD_INTERVAL_SECONDS, MEASURE_INTERVAL_SECONDS, Relay
from services.loms.seed import seed_stocks
from services.loms.servicer import LomsServicer
from services.loms.usecases import Orders, Stocks

MIGRATIONS = Path(__file__).parents[2] / "sql" / "loms" / "migrations"
FORGET_INTERVAL_SECONDS = 60
OUTBOX_CHANNEL = "outbox"


class LomsSettings(ReplicatedSettings):
    model_config = SettingsConfigDict(env_prefix="LOMS_")
    service: ClassVar[str] = "loms"

    listen: Address = "127.0.0.1:50052"
    side_listen: Address = "127.0.0.1:9102"
    payment_minutes: Duration = 10
    """How long an order may await its payment."""
    expiry_interval_seconds: Duration = 1
    """How often unpaid orders are looked for."""
    relay_interval_seconds: Duration = 0.25
    """How often new events are looked for, if nobody tells of them."""
    kafka_bootstrap: Bootstrap | None = None
    """The brokers that the events of orders are sent to."""


@asynccontextmanager
async def storage_of(settings: LomsSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where orders and stock live."""
    if settings.storage == "memory":
        yield MemoryStorage(seed_stocks())
        return
    async with migrated_database(settings, MIGRATIONS, log) as database, reads(settings, database, log) as read_from:
        bell = SharedBell(database, settings.required_url("database_direct_url"), OUTBOX_CHANNEL, log)
        async with background(*bell.loops):
            yield PostgresStorage(database, read_from, bell)


@asynccontextmanager
async def publisher_of(settings: LomsSettings, log: Logger) -> AsyncIterator[Publisher]:
    """Where the events of orders go."""
    if settings.kafka_bootstrap is None:
        log.warning("events go nowhere", setting=settings.variable("kafka_bootstrap"))
        yield InProcessTopic()
        return
    publisher = KafkaPublisher(KafkaTopic(settings.kafka_bootstrap, event(OrderEvent.DESCRIPTOR).topic))
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def loms(
    settings: LomsSettings, order_events: Publisher | None = None, clock: Clock = utc_now
) -> AsyncIterator[int]:
    """Serves LOMS; gives the port."""
    log = get_logger(settings.service)
    async with (
        storage_of(settings, log) as storage,
        nullcontext(order_events) if order_events else publisher_of(settings, log) as publisher,
    ):
        orders = Orders(storage, clock, timedelta(minutes=settings.payment_minutes), log)
        observed = ObservedPublisher(publisher, event(OrderEvent.DESCRIPTOR).topic, settings.service)
        relay = Relay(storage, observed, settings.relay_interval_seconds, log)
        registered = servicer(pb_grpc.add_LomsServiceServicer_to_server, LomsServicer(orders, Stocks(storage)))
        loops = (
            every(settings.expiry_interval_seconds, orders.cancel_unpaid, log),
            every(FORGET_INTERVAL_SECONDS, orders.forget_requests, log),
            every(LEAD_INTERVAL_SECONDS, relay.lead, log),
            every(MEASURE_INTERVAL_SECONDS, relay.measure, log),
            relay.run,
        )
        with relay.measured():
            async with background(*loops), serving(settings, registered) as port:
                yield port
        await relay.stop()


if __name__ == "__main__":
    main(LomsSettings, loms)
