"""The notifier as a process: `python -m services.notifier`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from marketplace.notifier.v1 import notifier_pb2_grpc as pb_grpc
from pydantic_settings import SettingsConfigDict

from services.chassis.background import background
from services.chassis.bus import InProcessTopic, Received
from services.chassis.lifecycle import main
from services.chassis.log import Logger, get_logger
from services.chassis.migrations import migrated_database
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, DatabaseSettings
from services.notifier.events import to_notification
from services.notifier.memory import MemoryStorage
from services.notifier.postgres import PostgresStorage
from services.notifier.servicer import NotifierServicer
from services.notifier.usecases import Notifications

MIGRATIONS = Path(__file__).parents[2] / "sql" / "notifier" / "migrations"


class NotifierSettings(DatabaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOTIFIER_")
    service: ClassVar[str] = "notifier"

    listen: Address = "127.0.0.1:50054"
    side_listen: Address = "127.0.0.1:9104"


@asynccontextmanager
async def storage_of(settings: NotifierSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where notifications live."""
    if settings.storage == "memory":
        yield MemoryStorage()
        return
    async with migrated_database(settings, MIGRATIONS, log) as database:
        yield PostgresStorage(database)


@asynccontextmanager
async def notifier(settings: NotifierSettings, order_events: InProcessTopic | None = None) -> AsyncIterator[int]:
    """Serves the notifier and consumes the events of orders; gives the port."""
    log = get_logger(settings.service)
    topic = order_events or InProcessTopic()
    async with storage_of(settings, log) as storage:
        notifications = Notifications(storage, log)

        async def handle(batch: Sequence[Received]) -> None:
            for received in batch:
                await notifications.notify(to_notification(received.message))

        async def consume() -> None:
            await topic.consume(handle, log)

        registered = servicer(pb_grpc.add_NotifierServiceServicer_to_server, NotifierServicer(notifications))
        async with background(consume), serving(settings, registered) as port:
            yield port


if __name__ == "__main__":
    main(NotifierSettings, notifier)
